"""The program moebox-train: found, asked, started and watched."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence

from moebox.errors import Error

#: What `moebox` returns to the shell (docs/cli.md).
_KINDS = {
    1: "internal",
    2: "invalid_argument",
    3: "not_found",
    4: "invalid_file",
    5: "unsupported",
    6: "network",
    7: "resource",
    8: "io",
    130: "cancelled",
}
INTERRUPTED = 130


def find() -> str:
    """Where it is: MOEBOX_TRAIN, else beside the program moebox, else on PATH.

    Raises:
        Error: it is not there.
    """
    if named := os.environ.get("MOEBOX_TRAIN"):
        if shutil.which(named) is None:
            raise Error("expected the program moebox-train, found none", f"MOEBOX_TRAIN={named}", "", "not_found")
        return named
    if program := shutil.which("moebox"):
        beside = pathlib.Path(program).resolve().with_name("moebox-train")
        if os.access(beside, os.X_OK):
            return str(beside)
    if program := shutil.which("moebox-train"):
        return program
    raise Error(
        "training needs the program moebox-train, which is neither beside moebox nor on PATH",
        "moebox-train",
        "in the sources: make train; then MOEBOX_TRAIN=build/release/moebox-train",
        "unsupported",
    )


def ask(arguments: Sequence[str]) -> str:
    """What the program says to these arguments. Raises `Error` with its words when it refuses them."""
    done = subprocess.run(
        [find(), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "MOEBOX_LANGUAGE": "en"},
    )
    if done.returncode != 0:
        raise _error(done.returncode, done.stderr)
    return done.stderr


def run(arguments: Sequence[str]) -> bool:
    """Starts the program and waits; what it says goes to stderr. False when it was stopped by Ctrl-C and has saved.

    Raises:
        Error: it failed.
        KeyboardInterrupt: Ctrl-C came here; the program has saved where it was.
    """
    # On a terminal it draws its progress itself; elsewhere (a notebook, a log) sys.stderr need not be a file.
    on_terminal = sys.stderr.isatty()
    process = subprocess.Popen(
        [find(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if on_terminal else subprocess.PIPE,
        text=True,
        errors="replace",
    )
    interrupted = False
    said: list[str] = []
    try:
        while True:
            try:
                if process.stderr is not None:
                    for line in process.stderr:
                        print(line, end="", file=sys.stderr, flush=True)
                        said = [*said[-20:], line]
                code = process.wait()
                break
            except KeyboardInterrupt:
                # It ends after its step, and writes a checkpoint. From a terminal it has got the signal itself.
                interrupted = True
                process.send_signal(signal.SIGINT)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()
    if interrupted:
        raise KeyboardInterrupt
    if code not in (0, INTERRUPTED):
        raise _error(code, "".join(said))
    return code == 0


def _error(code: int, words: str) -> Error:
    kind = _KINDS.get(code, "internal")
    lines = words.strip().splitlines()
    start = next((i for i in reversed(range(len(lines))) if lines[i].startswith("moebox")), None)
    if start is None:
        by = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Error(f"moebox-train ended with {by}", "", "what it said stands above" if not lines else lines[-1], kind)
    message = lines[start].partition(": ")[2]
    hints = [line.partition(": ")[2] for line in lines[start + 1 :] if line.startswith("  ")]
    return Error(message.removeprefix("error: "), "", hints[0] if hints else "", kind)
