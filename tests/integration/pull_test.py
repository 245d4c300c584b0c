"""Pulls that are killed or interrupted, from a local server that speaks as the hub does. The protocol itself is tested with src/hub."""
import hashlib
import http.server
import json
import os
import re
import signal
import threading
import time
import unittest

from program import PATIENCE, ProgramTest


class SlowHub(http.server.ThreadingHTTPServer):
    """Gives one file, slowly until told otherwise, by ranges."""

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), SlowHubHandler)
        self.content, self.slow, self.ranges, self.refusals = content, True, [], 0
        self.daemon_threads = True
        threading.Thread(target=self.serve_forever, daemon=True).start()


class SlowHubHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        if self.path.startswith("/api/"):
            text = json.dumps({"sha": "0" * 40, "siblings": [{"rfilename": "model.gguf"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        else:
            self.answer(body=True)

    def answer(self, body):
        if self.server.refusals > 0:
            self.server.refusals -= 1
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = self.server.content
        wanted = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        first = int(wanted.group(1)) if wanted else 0
        last = int(wanted.group(2)) if wanted and wanted.group(2) else len(content) - 1
        part = content[first:last + 1]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        digest = hashlib.sha256(content).hexdigest()
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if not body:
            return
        if last - first > 1:
            self.server.ranges.append(first)
        try:
            for begin in range(0, len(part), 65536):
                self.wfile.write(part[begin:begin + 65536])
                if self.server.slow:
                    time.sleep(0.05)
        except OSError:
            pass


class PullTest(ProgramTest):
    MODEL = "hf:owner/repo/model.gguf"

    def setUp(self):
        super().setUp()
        self.hub = SlowHub(os.urandom(4 << 20))
        self.addCleanup(self.hub.server_close)
        self.addCleanup(self.hub.shutdown)
        self.store = self.path("store")
        self.environment.update(MOEBOX_STORE=self.store, HF_ENDPOINT=f"http://127.0.0.1:{self.hub.server_address[1]}")

    def stored(self):
        return [os.path.join(folder, name) for folder, _, names in os.walk(self.store) for name in names]

    def begin(self):
        """A pull that has some bytes and is still running."""
        process = self.start("pull", self.MODEL)
        deadline = time.monotonic() + 30 * PATIENCE
        while not any(os.path.getsize(file) > 1_000_000 for file in self.stored() if os.path.exists(file)):
            self.assertIsNone(process.poll(), "the pull ended early")
            self.assertLess(time.monotonic(), deadline, "the pull does not begin")
            time.sleep(0.02)
        return process

    def check_resumes(self):
        self.assertEqual([file for file in self.stored() if file.endswith(".gguf")], [])
        self.assertEqual(json.loads(self.run_program("list", "--json")[0]), [])
        self.hub.slow = False
        out, err = self.run_program("pull", self.MODEL, "--json")
        self.assertRegex(err, r"model.gguf: going on after \d+ bytes of an earlier pull\n")
        path = json.loads(out)["path"]
        with open(path, "rb") as file:
            self.assertEqual(hashlib.sha256(file.read()).digest(), hashlib.sha256(self.hub.content).digest())
        self.assertGreater(self.hub.ranges[-1], 0, "it began again instead of going on")

    def test_a_killed_pull_goes_on_where_it_was(self):
        process = self.begin()
        process.kill()
        process.wait()
        self.check_resumes()

    def test_an_interrupted_pull_says_so_and_goes_on_where_it_was(self):
        process = self.begin()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30 * PATIENCE)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn(b"interrupted", err)
        self.check_resumes()

    def test_a_retry_is_told(self):
        self.hub.slow = False
        self.hub.refusals = 2
        out, err = self.run_program("pull", self.MODEL)
        self.assertTrue(out.strip().endswith(".gguf"), out)
        self.assertEqual(len(re.findall(r"503.*trying again in [\d.]+ s \(\d of \d\)\n", err)), 2, err)
        self.assertNotIn("\033", err)

    def test_a_retry_is_told_at_a_terminal_without_colour_where_none_is_wanted(self):
        for environment, colour in (({}, True), ({"NO_COLOR": "1"}, False)):
            with self.subTest(environment):
                self.hub.refusals = 1
                self.hub.slow = False
                terminal = self.terminal("pull", self.MODEL, **environment)
                terminal.expect(r"trying again in")
                self.assertEqual(terminal.finish(), 0)
                self.assertEqual("\033[2m" in terminal.screen, colour)
                self.run_program("rm", self.MODEL)

    def test_rm_removes_it(self):
        self.hub.slow = False
        self.run_program("pull", self.MODEL)
        name = json.loads(self.run_program("list", "--json")[0])[0]["name"]
        self.run_program("rm", name)
        self.assertEqual([file for file in self.stored() if file.endswith((".gguf", ".part"))], [])
        self.run_program("rm", name, code=3)

    def test_a_progress_bar_at_a_terminal(self):
        self.hub.slow = True
        terminal = self.terminal("pull", self.MODEL)
        terminal.expect(r"\r\x1b\[K.*\[#*\.+\] +\d+ %  [\d.]+ .?B of 4 MB")
        self.hub.slow = False
        terminal.expect(r"100 %  4 MB of 4 MB")
        self.assertEqual(terminal.finish(), 0)


if __name__ == "__main__":
    unittest.main()
