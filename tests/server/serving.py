"""Starts `moebox serve` on a free port of this machine, waits until it is ready, and stops it by its own process id."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

READY_SECONDS = 300  # a sanitizer build on a busy machine loads slowly


class Serving:
    def __init__(self, binary, models, options=(), environment=None):
        command = [binary, "serve", *models, "--host", "127.0.0.1", "--port", "0", *options]
        variables = {**os.environ, "MOEBOX_CONFIG": os.devnull, **(environment or {})}
        if "MOEBOX_API_KEY" not in (environment or {}):
            variables.pop("MOEBOX_API_KEY", None)
        self.log = []
        self.url = None
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables, text=True)
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(60) or self.url is None:
            self.process.kill()
            raise RuntimeError("the server did not say where it listens:\n" + "".join(self.log))
        self._wait_until_ready()

    def _read(self):
        for line in self.process.stdout:
            self.log.append(line)
            found = re.search(r"listening on (https?://\S+)", line)
            if found and self.url is None:
                self.url = found.group(1)
                self._listening.set()
        self._listening.set()

    def _wait_until_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.get("/ready")[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.process.kill()
        raise RuntimeError("the server did not become ready:\n" + "".join(self.log))

    def get(self, path, headers=None):
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def post(self, path, body, headers=None, timeout=120):
        request = urllib.request.Request(
            self.url + path, data=json.dumps(body).encode(), headers={"Content-Type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def metric(self, name, headers=None):
        """The sum of a metric over its labels."""
        return self.metrics([name], headers)[name]

    def metrics(self, names, headers=None):
        """{name: the sum over its labels}, all of one moment."""
        text = self.get("/metrics", headers)[1]
        values = {name: re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE) for name in names}
        return {name: sum(map(float, found)) for name, found in values.items()}

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) * 1024

    def stop(self, seconds=60):
        """Drains as a service manager would. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
