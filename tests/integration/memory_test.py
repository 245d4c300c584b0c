"""Resident memory of the program: after loading, and with a context in the cache, against the file's size and what `moebox show` says."""
import json
import os
import re
import time
import unittest
import urllib.error
import urllib.request

from program import MODELS, PATIENCE, QWEN, SMOL, ProgramTest

MB = 1_000_000
ALLOWED = 40 * MB  # beside the weights and the cache: program, libraries, tokenizer, buffers
CONTEXT = 2048


class MemoryTest(ProgramTest):
    def serve(self, model):
        """The process and its address, when the model has been loaded."""
        process = self.start("serve", "model=" + model, "--port", "0", "--load-at-start", "--context", str(CONTEXT))
        for line in process.stderr:
            match = re.search(rb"listening on (http://127\.0\.0\.1:\d+)", line)
            if match:
                break
        else:
            self.fail(f"it did not listen; exit code {process.wait()}")
        url = match.group(1).decode()
        end = time.monotonic() + 120 * PATIENCE
        while True:
            try:
                urllib.request.urlopen(url + "/ready", timeout=10).close()
                return process, url
            except urllib.error.HTTPError as error:
                error.close()
                self.assertLess(time.monotonic(), end, "it never got ready")
                time.sleep(0.05)

    def resident(self, process):
        with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) * 1024

    def reported(self, url):
        with urllib.request.urlopen(url + "/metrics", timeout=10) as response:
            return float(re.search(rb"^process_resident_memory_bytes(?:\{.*\})? (\S+)", response.read(), re.M).group(1))

    def check(self, model):
        need = json.loads(self.run_program("show", model, "--json", "--context", str(CONTEXT))[0])["memory"]
        process, url = self.serve(model)
        loaded = self.resident(process)
        self.assertLess(loaded, os.path.getsize(model) + ALLOWED)
        self.assertLess(loaded, need["weight_bytes"] + ALLOWED)
        self.assertGreater(loaded, 0.9 * (need["weight_bytes"] - need["mapped_bytes"]))
        self.assertAlmostEqual(self.reported(url), self.resident(process), delta=4 * MB)

        # One sequence fills its context: most of the prompt, then a few tokens of an answer.
        body = {"model": "model", "prompt": [1000 + i % 5000 for i in range(CONTEXT - 8)], "max_tokens": 8, "temperature": 0,
                "logprobs": 1, "ignore_eos": True}
        request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120 * PATIENCE) as response:
            self.assertEqual(json.load(response)["usage"]["prompt_tokens"], CONTEXT - 8)
        full = self.resident(process)
        self.assertLess(full, need["total_bytes"] + ALLOWED)
        self.assertGreater(full - loaded, 0.8 * need["kv_bytes"])
        known = json.loads(self.run_program("list", "--all", "--json")[0])
        memory = [entry["memory_bytes"] for entry in known if model.startswith(os.path.join(MODELS, entry["name"]))]
        self.assertEqual(len(memory), 1)
        self.assertAlmostEqual(full, memory[0], delta=0.1 * memory[0])

    def test_smollm2(self):
        self.check(SMOL)

    def test_qwen(self):
        self.check(QWEN)


if __name__ == "__main__":
    unittest.main()
