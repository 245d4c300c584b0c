"""tokenize, logits, perplexity, show and bench, as a person or a script uses them."""
import glob
import json
import math
import os
import re
import struct
import unittest
import xml.etree.ElementTree

from program import PATIENCE, QWEN, SMOL, TESTS, ProgramTest, read_bytes


def read_npy(path):
    """A float32 matrix from a .npy file, without NumPy: (rows, columns, values)."""
    with open(path, "rb") as file:
        content = file.read()
    assert content[:8] == b"\x93NUMPY\x01\x00"
    header_bytes = struct.unpack("<H", content[8:10])[0]
    header = eval(content[10:10 + header_bytes], {"__builtins__": {}}, {})  # a literal written by the program under test
    assert header["descr"] == "<f4" and header["fortran_order"] is False
    rows, columns = header["shape"]
    return rows, columns, struct.unpack(f"<{rows * columns}f", content[10 + header_bytes:])


class ToolsTest(ProgramTest):
    TEXT = "Hello, world! 你好，世界 👋\n\tint main() { return 0; }"

    def test_tokenize_and_back(self):
        for model in (SMOL, QWEN):
            ids, _ = self.run_program("tokenize", model, self.TEXT)
            self.assertRegex(ids, r"^\d+( \d+)*\n$")
            self.assertEqual(self.run_program("tokenize", model, stdin=self.TEXT)[0], ids)
            file = self.write("text.txt", self.TEXT)
            self.assertEqual(self.run_program("tokenize", model, "--file", file)[0], ids)
            self.assertEqual(self.run_program("tokenize", model, "--count", self.TEXT)[0], f"{len(ids.split())}\n")
            self.assertEqual(self.run_program("tokenize", model, "--decode", ids)[0], self.TEXT)
            self.assertEqual(self.run_program("tokenize", model, "--decode", stdin=",".join(ids.split()))[0], self.TEXT)

    def test_tokenize_special_tokens_only_when_asked(self):
        plain, _ = self.run_program("tokenize", SMOL, "<|im_start|>")
        special, _ = self.run_program("tokenize", SMOL, "--special", "<|im_start|>")
        self.assertEqual(special, "1\n")
        self.assertGreater(len(plain.split()), 1)
        self.assertEqual(self.run_program("tokenize", SMOL, "--decode", "1")[0], "")
        self.assertEqual(self.run_program("tokenize", SMOL, "--decode", "--special", "1")[0], "<|im_start|>")
        found = json.loads(self.run_program("tokenize", SMOL, "--json", "Hello world")[0])
        self.assertEqual([token["id"] for token in found["tokens"]], found["ids"])
        self.assertEqual("".join(token["text"] for token in found["tokens"]), "Hello world")

    def test_tokenize_refuses_what_is_no_id(self):
        for bad in ("1 2 x", "-1", "49152", "99999999999"):
            _, err = self.run_program("tokenize", SMOL, "--decode", "--", bad, code=2)
            self.assertIn("49151", err)
        _, err = self.run_program("tokenize", SMOL, "--decode", "1,,2", code=2)
        self.assertIn("line 1, column 3", err)

    def test_logits_are_a_matrix_that_predicts(self):
        ids = self.run_program("tokenize", SMOL, "The capital of France is")[0].split()
        out = self.path("logits.npy")
        stdout, err = self.run_program("logits", SMOL, "--ids", ",".join(ids), "--out", out)
        self.assertEqual(stdout, "")
        self.assertIn(f"({len(ids)}, 49152)", err)
        rows, columns, values = read_npy(out)
        self.assertEqual((rows, columns), (len(ids), 49152))
        last = values[(rows - 1) * columns:]
        best = max(range(columns), key=last.__getitem__)
        self.assertEqual(self.run_program("tokenize", SMOL, "--decode", str(best))[0], " Paris")
        self.run_program("logits", SMOL, "--ids", ",".join(ids), "--out", self.path("last.npy"), "--last")
        self.assertEqual(read_npy(self.path("last.npy"))[2], last)
        self.run_program("logits", SMOL, "--text", "The capital of France is", "--out", self.path("text.npy"))
        self.assertEqual(read_npy(self.path("text.npy"))[2], values)
        piped = self.start("logits", SMOL, "--ids", ",".join(ids), "--out", "-")
        stdout, err = piped.communicate(timeout=120 * PATIENCE)
        self.assertEqual((piped.returncode, stdout), (0, read_bytes(out)), err)
        self.assertFalse(os.path.exists(self.path("-")))
        self.run_program("logits", SMOL, "--out", out, code=2)
        self.run_program("logits", SMOL, "--ids", "1", "--text", "x", "--out", out, code=2)
        self.run_program("logits", SMOL, "--ids", " , ", "--out", out, code=2)

    def test_logits_says_before_it_computes_that_the_file_cannot_be_written(self):
        for out in (self.path("no/such/folder/logits.npy"), self.home):
            # The model is no model: who looked at it first would say that.
            _, err = self.run_program("logits", self.write("model.gguf", "no model"), "--ids", "1", "--out", out, code=8)
            self.assertIn(out, err)
        self.run_program("logits", self.path("model.gguf"), "--ids", "1", "--out", self.path("new.npy"), code=4)
        self.assertFalse(os.path.exists(self.path("new.npy")), "the check leaves no file")
        kept = self.write("kept.npy", "kept")
        self.run_program("logits", self.path("model.gguf"), "--ids", "1", "--out", kept, code=4)
        self.assertEqual(read_bytes(kept), b"kept")

    def test_logits_do_not_depend_on_threads(self):
        found = []
        for threads in ("1", "2"):
            out = self.path(f"logits{threads}.npy")
            self.run_program("logits", SMOL, "--ids", "1,2,3,4,5,6,7", "--threads", threads, "--out", out)
            found.append(read_bytes(out))
        self.assertEqual(found[0], found[1])

    def perplexity_of_logits(self, model, ids, windows, window_tokens):
        """Of what is predicted for the second half of every window, but for the first token of it."""
        total = 0.0
        scored = range(window_tokens // 2, window_tokens - 1)
        for window in range(windows):
            part = ids[window * window_tokens:(window + 1) * window_tokens]
            out = self.path("window.npy")
            self.run_program("logits", model, "--ids", ",".join(map(str, part)), "--out", out)
            _, columns, values = read_npy(out)
            for position in scored:
                row = values[position * columns:(position + 1) * columns]
                largest = max(row)
                total += math.log(math.fsum(math.exp(value - largest) for value in row)) + largest - row[part[position + 1]]
        return math.exp(total / (windows * len(scored)))

    def test_perplexity_scores_the_second_half_of_every_window(self):
        text = self.write("text.txt", "The quick brown fox jumps over the lazy dog. " * 60)
        found = json.loads(self.run_program("perplexity", SMOL, text, "--window", "64", "--windows", "3", "--json")[0])
        self.assertEqual((found["windows"], found["window_tokens"]), (3, 64))
        self.assertEqual(found["scored_tokens"], 3 * 31)
        # The same from the logits.
        ids = [int(word) for word in self.run_program("tokenize", SMOL, "--file", text)[0].split()]
        self.assertAlmostEqual(found["perplexity"], self.perplexity_of_logits(SMOL, ids, windows=3, window_tokens=64), delta=1e-4 * found["perplexity"])
        self.run_program("perplexity", SMOL, text, "--window", "100000", code=2)
        self.run_program("perplexity", SMOL, self.write("short.txt", "too short"), code=2)

    def test_show(self):
        out, _ = self.run_program("show", "smollm2-135m-instruct", "--context", "2048")
        for word in ("llama", "134.5 million", "Q4_1", "8192 tokens as trained", "for 2048 tokens", "Apache-2.0", "general.architecture"):
            self.assertIn(word.lower(), out.lower())
        found = json.loads(self.run_program("show", SMOL, "--json", "--tensors", "--context", "1024")[0])
        # 30 layers, 3 heads of 64, K and V, two bytes
        self.assertEqual(found["memory"]["kv_bytes_per_token"], 30 * 3 * 64 * 2 * 2)
        self.assertEqual(found["memory"]["kv_bytes"], 1024 * 30 * 3 * 64 * 2 * 2)
        self.assertEqual(sum(tensor["bytes"] for tensor in found["tensors"]), sum(kind["bytes"] for kind in found["types"].values()))
        embedding = next(tensor for tensor in found["tensors"] if tensor["name"] == "token_embd.weight")
        self.assertEqual(embedding["shape"], [49152, 576])
        self.assertIn("im_start", found["chat_template"])
        self.assertIn("im_start", self.run_program("show", SMOL, "--template")[0])
        self.assertIn("blk.29.ffn_down.weight", self.run_program("show", SMOL, "--tensors")[0])
        self.assertIn("general.architecture = \"llama\"", self.run_program("show", SMOL, "--metadata")[0])
        self.run_program("show", SMOL, "--context", "1000000", code=2)

    def test_show_says_what_the_engine_does_with_memory(self):
        token = 30 * 3 * 64 * 2 * 2

        def need(*arguments):
            return json.loads(self.run_program("show", SMOL, "--json", *arguments)[0])["memory"]

        default = need()
        self.assertEqual(default["context_tokens"], 8192)
        with open("/proc/meminfo", encoding="ascii") as file:
            free = int(re.search(r"MemAvailable:\s+(\d+)", file.read()).group(1)) * 1024
        if free > 16e9:
            self.assertEqual(default["cache_tokens"], 65536)
        self.assertEqual(default["cache_bytes"], default["cache_tokens"] * token)
        # A small cache shortens a context that was not asked for, and refuses one that was.
        small = need("--kv-memory", str(1000 * token))
        self.assertEqual((small["cache_tokens"], small["context_tokens"]), (992, 992))
        self.assertEqual(need("--kv-memory", str(1024 * token), "--context", "1024")["context_tokens"], 1024)
        self.run_program("show", SMOL, "--kv-memory", str(1000 * token), "--context", "1024", code=7)
        self.assertEqual(need("--kv-memory", str(1024 * token), "--kv-type", "f32")["cache_tokens"], 512)
        self.assertEqual(need("--kv-memory", str(1024 * token), "--kv-type", "bf16")["cache_tokens"], 1024)
        self.assertEqual(need("--kv-type", "q8_0")["kv_bytes_per_token"] * 32, token * 17)  # 32 values: 34 bytes, not 64
        self.assertGreater(need("--threads", "4")["step_bytes"], need("--threads", "1")["step_bytes"])
        for memory in (default, small):
            self.assertEqual(memory["total_bytes"], memory["weight_bytes"] + memory["kv_bytes"] + memory["step_bytes"])

    def test_show_a_hugging_face_folder(self):
        folder = next(os.path.dirname(path) for path in sorted(glob.glob(f"{TESTS}/golden/transformers/models/*/config.json")))
        found = json.loads(self.run_program("show", folder, "--json")[0])
        self.assertGreater(found["parameters"], 1000)
        self.assertGreater(found["memory"]["weight_bytes"], 1000)

    def test_moe_sweep(self):
        model = f"{TESTS}/golden/moe/models/qwen3moe"
        with open(model + "/config.json", encoding="utf-8") as file:
            config = json.load(file)
        own = config["num_experts_per_tok"]
        ids = [(i * i * 7 + i) % config["vocab_size"] for i in range(70)]
        file, svg = self.write("ids.txt", " ".join(map(str, ids))), self.path("sweep.svg")
        arguments = ["bench", model, "--moe-sweep", "--ids-file", file, "--window", "32", "--prefill", "16", "--decode", "8", "--repeat", "1"]
        found = json.loads(self.run_program(*arguments, "--json", "--svg", svg, "--sweep-top-p", "1,0.5", "--sweep-experts", "1")[0])
        points = {point["budget"]: point for point in found["points"]}
        self.assertEqual(list(points), ["no budget", "top_p 1", "top_p 0.5", "1 expert"])
        for point in points.values():
            self.assertEqual(point["scored_tokens"], 2 * 15)
            self.assertGreater(point["prefill_tokens_per_second"], 1)
            self.assertGreater(point["decode_tokens_per_second"], 1)
        whole = points["no budget"]
        self.assertEqual((whole["experts_per_token"], whole["dropped_share"]), (own, 0))
        self.assertEqual(points["top_p 1"]["perplexity"], whole["perplexity"])
        self.assertEqual(points["1 expert"]["experts_per_token"], 1)
        self.assertLess(points["1 expert"]["active_parameters"], whole["active_parameters"])
        self.assertNotEqual(points["1 expert"]["perplexity"], whole["perplexity"])
        self.assertGreater(points["1 expert"]["dropped_share"], points["top_p 0.5"]["dropped_share"])
        # The perplexity without a budget is that of the logits.
        self.assertAlmostEqual(whole["perplexity"], self.perplexity_of_logits(model, ids, windows=2, window_tokens=32), delta=1e-4 * whole["perplexity"])
        drawing = xml.etree.ElementTree.parse(svg).getroot()
        self.assertEqual(len(drawing.findall("{http://www.w3.org/2000/svg}circle")), 3 * 4)
        table, _ = self.run_program(*arguments)
        for name in ("no budget", "top_p 0.9", "top_p 0.3", "1 expert", "perplexity", "experts/token"):
            self.assertIn(name, table)
        self.run_program("bench", SMOL, "--moe-sweep", "--ids-file", file, code=2)  # dense
        self.run_program(*arguments, "--sweep-experts", str(own + 1), code=2)
        self.run_program(*arguments, "--sweep-top-p", "0", code=2)
        self.run_program("bench", model, "--moe-sweep", code=2)
        nowhere = self.path("no/such/folder/sweep.svg")
        no_model = self.write("model.gguf", "no model")  # who looked at it first would say that
        _, err = self.run_program("bench", no_model, "--moe-sweep", "--ids-file", file, "--svg", nowhere, code=8)
        self.assertIn(nowhere, err)

    def test_a_short_context_shortens_what_is_measured(self):
        model = f"{TESTS}/golden/moe/models/qwen3moe"
        with open(model + "/config.json", encoding="utf-8") as file:
            context = json.load(file)["max_position_embeddings"]
        self.assertLess(context, 513)
        file = self.write("ids.txt", " ".join(str(i % 100) for i in range(context)))
        arguments = ["bench", model, "--repeat", "1"]
        row = json.loads(self.run_program(*arguments, "--streams", "0", "--threads", "1", "--json")[0])["rows"][0]
        self.assertEqual((row["prefill_tokens"], row["decode_tokens"]), (context - 1, min(128, context - 1)))
        found = json.loads(self.run_program(*arguments, "--moe-sweep", "--ids-file", file, "--sweep-top-p", "0.5", "--json")[0])
        self.assertEqual((found["window_tokens"], found["prefill_tokens"]), (context, context - 1))
        for option in ("--prefill", "--decode", "--after", "--stream-prompt", "--stream-tokens"):
            self.assertIn(option, self.run_program(*arguments, option, str(context + 1), code=2)[1])
        for option in ("--prefill", "--decode", "--window"):
            self.assertIn(option, self.run_program(*arguments, "--moe-sweep", "--ids-file", file, option, str(context + 1), code=2)[1])

    def test_bench_measures_what_it_is_told(self):
        arguments = ["--prefill", "32", "--decode", "8", "--streams", "1,2", "--repeat", "1", "--threads", "1,2"]
        found = json.loads(self.run_program("bench", SMOL, *arguments, "--json")[0])
        self.assertEqual([row["threads"] for row in found["rows"]], [1, 2])
        for row in found["rows"]:
            self.assertGreater(row["prefill_tokens_per_second"], 1)
            self.assertGreater(row["decode_tokens_per_second"], 1)
            self.assertEqual(sorted(row["streams_tokens_per_second"]), ["1", "2"])
        out, _ = self.run_program("bench", SMOL, *arguments)
        self.assertIn("prefill 32", out)
        self.assertIn("2 streams", out)
        self.assertRegex(out, r"reads [\d.]+ GB/s")


if __name__ == "__main__":
    unittest.main()
