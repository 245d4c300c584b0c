"""Runs the built program as a user would: with arguments and pipes, or at a terminal. What every integration test shares."""
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

PROGRAM = os.environ["MOEBOX_PROGRAM"]
MODELS = os.environ["MOEBOX_MODEL_DIR"]
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SMOL = os.path.join(MODELS, "smollm2-135m-instruct-q4_1.gguf")
QWEN = os.path.join(MODELS, "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
# Sanitizers make everything slower, and nothing different.
PATIENCE = 5 if os.environ.get("MOEBOX_SANITIZE") else 1


def read_bytes(path, count=-1):
    with open(path, "rb") as file:
        return file.read(count)


def read_text(path):
    return read_bytes(path).decode()


class ProgramTest(unittest.TestCase):
    """Every test has an empty home of its own, no settings from outside, and the tests' models as its store."""

    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="moebox-test-")
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("MOEBOX_", "XDG_", "LC_", "HF_")) and name not in ("LANG", "NO_COLOR", "LANGUAGE")}
        self.environment = {**kept, "HOME": self.home, "MOEBOX_STORE": MODELS, "TERM": "xterm-256color"}

    def path(self, name):
        return os.path.join(self.home, name)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    def run_program(self, *arguments, stdin="", code=0, **environment):
        """Runs to the end with pipes; the exit code must be `code`. Gives (stdout, stderr) as text."""
        done = subprocess.run([PROGRAM, *arguments], input=stdin.encode() if isinstance(stdin, str) else stdin,
                              capture_output=True, env={**self.environment, **environment}, cwd=self.home,
                              timeout=120 * PATIENCE)
        out, err = done.stdout.decode(), done.stderr.decode()
        self.assertEqual(done.returncode, code, f"{arguments}\nstdout: {out[-2000:]}\nstderr: {err[-2000:]}")
        return out, err

    def start(self, *arguments, **environment):
        """Starts with pipes and goes on; killed at the end of the test."""
        process = subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env={**self.environment, **environment}, cwd=self.home)

        def stop():
            process.kill()
            process.communicate()

        self.addCleanup(stop)
        return process

    def terminal(self, *arguments, columns=80, **environment):
        terminal = Terminal(self, [PROGRAM, *arguments], {**self.environment, **environment}, columns)
        self.addCleanup(terminal.kill)
        return terminal


class Terminal:
    """The program in a pseudo-terminal. `screen` is all that it wrote, as it wrote it."""

    def __init__(self, test, command, environment, columns):
        self.test, self.screen, self.seen, self.code = test, "", 0, None
        self.pending = b""
        self.process, self.fd = pty.fork()
        if self.process == 0:
            os.chdir(test.home)
            os.execve(command[0], command, environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self, seconds):
        """Takes what comes within the time; False when the program is gone."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        if not data:
            return False
        self.pending += data
        text = self.pending.decode(errors="ignore")
        kept = len(text.encode())
        # A character that is not complete yet waits for its rest.
        self.screen += text
        self.pending = self.pending[kept:] if len(self.pending) - kept < 4 else b""
        return True

    def expect(self, pattern, seconds=60):
        """Waits until what came since the last expect() matches; gives the match."""
        deadline = time.monotonic() + seconds * PATIENCE
        while True:
            match = re.compile(pattern, re.DOTALL).search(self.screen, self.seen)
            if match:
                self.seen = match.end()
                return match
            if time.monotonic() > deadline or not self.read(0.1):
                self.test.fail(f"expected {pattern!r}, found {self.screen[self.seen:]!r}")

    def prompt(self, seconds=60):
        """Waits for an empty prompt that waits for input: the editor draws it, and puts the cursor behind it."""
        self.expect(r">>> (?:\r(?:\x1b\[4C))", seconds)

    def send(self, text):
        os.write(self.fd, text.encode() if isinstance(text, str) else text)

    def line(self, text):
        self.send(text + "\r")

    def attributes(self):
        return termios.tcgetattr(self.fd)

    def finish(self, seconds=30):
        """Waits for the end; gives the exit code (negative: a signal)."""
        deadline = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < deadline:
            self.read(0.05)
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                while self.read(0.05) and select.select([self.fd], [], [], 0)[0]:
                    pass
                self.process = None
                return os.waitstatus_to_exitcode(status)
        self.test.fail(f"the program did not end; it wrote {self.screen[-2000:]!r}")

    def kill(self):
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            self.process = None
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
