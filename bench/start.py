#!/usr/bin/env python3
"""Time from the start of the process to the first byte of the answer, with the model's file in the page cache.

    python3 bench/start.py --moebox build/release/moebox MODEL [--rounds 11] [--threads 2] [--json FILE]

Each round starts `moebox run MODEL PROMPT` and reads its standard output. "file": weights are packed at every start; "packed": `moebox pack` has kept them.
MODEL is a GGUF file of one part.
"""
import argparse
import shutil
import statistics
import subprocess
import tempfile
import time

from served import write_json

PROMPT = "What is the capital of France?"


def first_byte(command):
    """Seconds."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    found = process.stdout.read(1)
    seconds = time.perf_counter() - begin
    _, said = process.communicate()
    if not found or process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}:\n{said.decode()}")
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--moebox", required=True)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory(prefix="moebox-start-") as folder:
        model = shutil.copy(args.model, folder)
        for name in ("file", "packed"):
            if name == "packed":
                subprocess.run([args.moebox, "pack", model], check=True, capture_output=True)
            command = [args.moebox, "run", model, PROMPT, "--max-tokens", "2", "--temperature", "0", "--threads", str(args.threads)]
            first_byte(command)  # the page cache
            figures[name] = [first_byte(command) * 1000 for _ in range(args.rounds)]
            print(f"{name:7} first byte after {statistics.median(figures[name]):.0f} ms (median of {args.rounds}; {min(figures[name]):.0f} to {max(figures[name]):.0f})",
                  flush=True)
    write_json(args.json, {name: {"first_byte_ms": statistics.median(values), "rounds": values} for name, values in figures.items()})


if __name__ == "__main__":
    main()
