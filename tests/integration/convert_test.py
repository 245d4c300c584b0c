"""convert, as a person or a script uses it."""
import json
import os
import signal
import subprocess
import time
import unittest

from program import PROGRAM, SMOL, TESTS, ProgramTest, read_bytes

TINY = f"{TESTS}/golden/deepseek/models/tiny-v3"


class ConvertTest(ProgramTest):
    def test_a_folder_becomes_a_file_that_runs(self):
        out, err = self.run_program("convert", TINY, "tiny.gguf", "--type", "q8_0")
        self.assertEqual(out, "")
        self.assertIn("no tokenizer", err)
        found = json.loads(self.run_program("show", "./tiny.gguf", "--json")[0])
        self.assertEqual(found["architecture"], "deepseek2")
        self.run_program("logits", "./tiny.gguf", "--ids", "1,2,3", "--out", "logits.npy")

    def test_errors_are_a_table_on_stdout(self):
        out, _ = self.run_program("convert", TINY, "tiny.gguf", "--type", "Q4_0", "--error")
        rows = {line.split()[0]: line.split() for line in out.splitlines()}
        self.assertEqual(rows["tensor"][1:4], ["from", "to", "error"])
        self.assertEqual(rows["blk.0.attn_norm.weight"][2], "F32")
        self.assertEqual(float(rows["blk.0.attn_norm.weight"][3]), 0)
        self.assertEqual(rows["blk.1.ffn_up_exps.weight"][2], "Q4_0")
        self.assertTrue(0.01 < float(rows["blk.1.ffn_up_exps.weight"][3]) < 0.12)
        found = json.loads(self.run_program("convert", TINY, "again.gguf", "--type", "Q4_0", "--error", "--json")[0])
        self.assertEqual(found["type"], "Q4_0")
        self.assertEqual(found["file_bytes"], os.path.getsize(self.path("again.gguf")))
        self.assertEqual(len(found["tensors"]), len(rows) - 1)
        self.assertEqual(read_bytes(self.path("again.gguf")), read_bytes(self.path("tiny.gguf")))

    def test_what_is_there_is_replaced_only_by_force(self):
        path = self.write("out.gguf", "mine")
        _, err = self.run_program("convert", TINY, path, "--type", "F16", code=2)
        self.assertIn("--force", err)
        self.assertEqual(read_bytes(path), b"mine")
        self.run_program("convert", TINY, path, "--type", "F16", "--force")
        self.assertEqual(read_bytes(path, 4), b"GGUF")
        _, err = self.run_program("convert", path, path, "--type", "Q8_0", "--force", code=2)
        self.assertIn("what is read", err)

    def test_what_is_not_right_is_named(self):
        self.assertIn("Q4_K_M", self.run_program("convert", TINY, "x", "--type", "Q4_9", code=2)[1])
        self.run_program("convert", TINY, "x", code=2)
        self.run_program("convert", "no-such-model", "x", "--type", "F16", code=3)
        self.run_program("convert", TINY, "no/such/folder/x", "--type", "F16", code=8)
        dynamic = f"{TESTS}/golden/transformers/models/llama_dynamic"
        self.assertIn("rope_type", self.run_program("convert", dynamic, "x", "--type", "F16", code=5)[1])
        self.assertEqual(os.listdir(self.home), [])

    def test_a_quantised_model_says_that_errors_add_up(self):
        _, err = self.run_program("convert", SMOL, "smol.gguf", "--type", "Q8_0", "--threads", "2")
        self.assertIn("add up", err)
        self.assertIn("100 %", err)

    def stop_while_it_writes(self, which):
        process = subprocess.Popen([PROGRAM, "convert", SMOL, "smol.gguf", "--type", "IQ4_NL", "--threads", "1"], cwd=self.home,
                                   env=self.environment, stderr=subprocess.PIPE)
        home = os.path.realpath(self.home)

        def writes():
            for fd in os.listdir(f"/proc/{process.pid}/fd"):
                try:
                    if os.readlink(f"/proc/{process.pid}/fd/{fd}").startswith(home):  # it may have no name yet
                        return True
                except OSError:
                    pass
            return False

        deadline = time.monotonic() + 60
        while not writes() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertTrue(writes())
        process.send_signal(which)
        _, err = process.communicate(timeout=120)
        return process.returncode, err

    def test_ctrl_c_leaves_nothing(self):
        code, err = self.stop_while_it_writes(signal.SIGINT)
        self.assertEqual(code, 130, err)
        self.assertEqual(os.listdir(self.home), [])

    def test_an_end_at_any_moment_leaves_nothing(self):
        for which in (signal.SIGTERM, signal.SIGKILL):
            code, err = self.stop_while_it_writes(which)
            self.assertEqual(code, -which, err)
            self.assertEqual(os.listdir(self.home), [])


if __name__ == "__main__":
    unittest.main()
