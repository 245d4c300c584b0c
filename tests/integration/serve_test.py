"""`moebox serve` from the command line: it says where it listens, answers, and ends as told. The protocol is tested with src/server."""
import json
import re
import signal
import time
import unittest
import urllib.error
import urllib.request

from program import PATIENCE, SMOL, ProgramTest


class ServeTest(ProgramTest):
    def serve(self, *arguments, **environment):
        process = self.start("serve", *arguments, "--port", "0", **environment)
        for line in process.stderr:
            match = re.search(rb"listening on (http://127\.0\.0\.1:\d+)", line)
            if match:
                return process, match.group(1).decode()
        self.fail(f"it did not listen; exit code {process.wait()}")

    def request(self, url, body=None, key=None):
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = "Bearer " + key
        request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None, headers=headers)
        with urllib.request.urlopen(request, timeout=60 * PATIENCE) as response:
            return json.load(response)

    def test_it_answers_and_sigterm_ends_it(self):
        process, url = self.serve("tiny=" + SMOL)
        self.assertEqual([model["id"] for model in self.request(url + "/v1/models")["data"]], ["tiny"])
        answer = self.request(url + "/v1/chat/completions", {
            "model": "tiny", "temperature": 0, "max_tokens": 12, "messages": [{"role": "user", "content": "In which city is the Eiffel Tower?"}]})
        self.assertIn("Paris", answer["choices"][0]["message"]["content"])
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60 * PATIENCE)
        self.assertEqual(process.returncode, 0)

    def test_a_key_from_the_environment_is_asked_for(self):
        _, url = self.serve(SMOL, MOEBOX_API_KEY="secret-of-this-test")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.request(url + "/v1/models")
        self.assertEqual(refused.exception.code, 401)
        refused.exception.close()
        self.assertTrue(self.request(url + "/v1/models", key="secret-of-this-test")["data"])

    def test_a_prompt_is_known_after_kill_and_restart_with_the_right_keys(self):
        keys = self.write("keys", "one:the-first-key-of-this-test\ntwo:the-second-key-of-this-test\n")
        turned = self.write("turned", "two:the-second-key-of-this-test\none:the-first-key-of-this-test\n")
        prompt = "The quick brown fox jumps over the lazy dog, and then over the fence and the brook. " * 4
        store = ("--kv-store", self.path("store"), "--kv-store-size", "64MiB")
        wanted = (("first", keys, "a key of the store", 0), ("first", turned, "a key of the store", 64), ("second", keys, "a key of the store", 0),
                  ("first", keys, "another key of the store", 0))
        for caller, file, secret, found in wanted:
            with self.subTest(caller=caller, file=file, secret=secret):
                process, url = self.serve(SMOL, "--keys-file", file, *store, MOEBOX_KV_STORE_KEY=secret)
                key = f"the-{caller}-key-of-this-test"
                self.assertEqual(self.cached(url, prompt, key), found)
                request = urllib.request.Request(url + "/metrics", headers={"Authorization": "Bearer " + key})
                until = time.monotonic() + 30 * PATIENCE
                while True:
                    with urllib.request.urlopen(request, timeout=60 * PATIENCE) as response:
                        metrics = response.read().decode()
                    n_blocks = int(re.search(r"^moebox:kv_store_blocks (\d+)$", metrics, re.MULTILINE).group(1))
                    if found or n_blocks >= 2 or time.monotonic() > until:
                        break
                    time.sleep(0.05)
                self.assertIn(f'moebox:kv_store_found_tokens_total{{model_name="smollm2-135m-instruct-q4_1"}} {found}\n', metrics)
                process.kill()
                process.communicate(timeout=60 * PATIENCE)

    def test_a_store_that_cannot_be_is_refused_at_the_start(self):
        usage, io = 2, 8
        refused = ((self.write("file", "text"), (), usage, "file"), (self.path("a/b"), (), io, "a/b"),
                   (self.path("c"), ("--no-prefix-cache",), usage, "kv-store"))
        for folder, options, code, said in refused:
            with self.subTest(said):
                _, err = self.run_program("serve", SMOL, "--port", "0", "--kv-store", folder, *options, code=code)
                self.assertIn(said, err)

    def test_a_key_of_a_store_that_there_is_not_is_not_passed_over(self):
        usage = 2
        key = self.write("store.key", "a key of the store\n")
        _, err = self.run_program("serve", SMOL, "--port", "0", "--kv-store-key-file", key, code=usage)
        self.assertIn("--kv-store-key-file", err)
        process = self.start("serve", SMOL, "--port", "0", MOEBOX_KV_STORE_KEY="a key of the store")
        before = b""
        while b"listening" not in before:
            line = process.stderr.readline()
            self.assertTrue(line, "it ended before it listened")
            before += line
        process.kill()
        process.communicate(timeout=60 * PATIENCE)
        self.assertIn(b"MOEBOX_KV_STORE_KEY", before)

    def test_drafts_that_a_model_cannot_make_are_refused_at_the_start(self):
        unsupported = 5
        _, err = self.run_program("serve", SMOL, "--port", "0", "--speculation", "mtp", code=unsupported)
        self.assertIn("speculation", err)

    def cached(self, url, prompt, key):
        answer = self.request(url + "/v1/completions", {"prompt": prompt, "max_tokens": 1, "temperature": 0}, key)
        return answer["usage"]["prompt_tokens_details"]["cached_tokens"]

    def test_the_beginning_of_a_prompt_is_known_to_its_own_key_alone(self):
        keys = self.write("keys", "one:the-first-key-of-this-test\ntwo:the-second-key-of-this-test\n")
        prompt = "The quick brown fox jumps over the lazy dog, and then over the fence and the brook. " * 4
        for options, other in (((), 0), (("--share-prefixes",), 64), (("--no-prefix-cache", "--share-prefixes"), 0)):
            with self.subTest(options):
                process, url = self.serve(SMOL, "--keys-file", keys, *options)
                own = 0 if "--no-prefix-cache" in options else 64
                self.assertEqual(self.cached(url, prompt, "the-first-key-of-this-test"), 0)
                self.assertEqual(self.cached(url, prompt, "the-second-key-of-this-test"), other)
                self.assertEqual(self.cached(url, prompt, "the-first-key-of-this-test"), own)
                self.assertEqual(self.cached(url, "Not " + prompt, "the-first-key-of-this-test"), 0)
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60 * PATIENCE)

    def test_beyond_this_machine_without_a_key_is_refused(self):
        for again in ([], ["--allow-open"]):
            _, err = self.run_program("serve", SMOL, "--host", "0.0.0.0", "--port", "0", *again, code=2)
            self.assertRegex(err, r"moebox: error: ")


if __name__ == "__main__":
    unittest.main()
