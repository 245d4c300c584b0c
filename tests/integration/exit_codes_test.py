"""Exit codes as docs/cli.md lists them, and errors that say what to do."""
import glob
import os
import signal
import subprocess
import time
import unittest

from program import MODELS, PATIENCE, PROGRAM, SMOL, TESTS, ProgramTest, read_bytes


class ExitCodesTest(ProgramTest):
    def test_2_a_chat_to_go_on_with_and_a_question(self):
        _, err = self.run_program("run", SMOL, "--load", "chat.json", "hello", code=2)
        self.assertIn("--load", err)

    def test_2_what_a_person_sets_is_called_as_the_person_calls_it(self):
        self.assertIn("--context: expected", self.run_program("run", SMOL, "hi", "--context", "2147483647", code=2)[1])
        self.assertIn("--kv-memory: a context", self.run_program("run", SMOL, "hi", "--context", "512", "--kv-memory", "1", code=7)[1])
        self.assertIn("from 0 B to 64000 GB", self.run_program("run", SMOL, "hi", "--kv-memory", "9999TB", code=2)[1])
        _, err = self.run_program("config", code=2, MOEBOX_TEMPERATURE="é" * 50000)
        self.assertLess(len(err), 3000)
        self.assertIn("from 0 to 100", err)

    def test_3_a_model_that_is_not_there(self):
        _, err = self.run_program("run", "smollm2-135m-instrut", "hello", code=3)
        self.assertRegex(err, r"^moebox: error: .*smollm2-135m-instrut")
        self.assertIn("smollm2-135m-instruct", err.split("hint:")[1] if "hint:" in err else err)
        self.assertIn("check the path", self.run_program("show", "./nothing.gguf", code=3)[1])
        self.assertIn("moebox pull qwen", self.run_program("show", "qwen2.5-0.5b-instruct", code=3)[1])
        self.run_program("rm", "nothing", code=3)
        self.run_program("run", SMOL, "--file", "nothing.txt", code=3)
        self.run_program("--config", "nothing.toml", "list", code=3)

    def test_4_a_file_that_is_not_a_model(self):
        junk = self.write("junk.gguf", os.urandom(5000))
        empty = self.write("empty.gguf", b"")
        cut = self.write("cut.gguf", read_bytes(SMOL, 100000))
        for file in (junk, empty, cut):
            for verb in (["show", file], ["run", file, "hello"], ["tokenize", file, "hello"]):
                _, err = self.run_program(*verb, code=4)
                self.assertRegex(err, r"^moebox: error: .*" + os.path.basename(file))
                self.assertLessEqual(len(err.splitlines()), 2, err)

    def test_5_an_architecture_that_is_not_known(self):
        tiny = next(path for path in sorted(glob.glob(f"{TESTS}/golden/transformers/models/**/*f16*.gguf", recursive=True)))
        content = read_bytes(tiny)
        other = self.write("other.gguf", content.replace(b"llama", b"lnmna").replace(b"qwen2", b"qwem2"))
        _, err = self.run_program("logits", other, "--ids", "1,2", "--out", self.path("x.npy"), code=5)
        self.assertRegex(err, r"lnmna|qwem2")
        self.assertFalse(os.path.exists(self.path("x.npy")))
        out, _ = self.run_program("show", other)
        self.assertRegex(out, r"cannot run +.*(lnmna|qwem2)")

    def test_7_a_question_that_does_not_fit(self):
        _, err = self.run_program("run", SMOL, "--context", "64", "word " * 200, code=7)
        self.assertIn("64", err)

    def test_8_an_output_that_cannot_be_written(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([PROGRAM, "list", "--all"], stdout=full, stderr=subprocess.PIPE, env=self.environment)
        self.assertEqual(done.returncode, 8, done.stderr)
        self.run_program("logits", SMOL, "--ids", "1", "--out", "/nonexistent/x.npy", code=8)

    def test_130_an_answer_that_was_interrupted(self):
        process = self.start("run", SMOL, "--temperature", "0", "--max-tokens", "4000", "Count from one to one thousand.")
        first = process.stdout.read(1)
        self.assertTrue(first)
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        out, err = process.communicate(timeout=30 * PATIENCE)
        self.assertLess(time.monotonic() - start, 5 * PATIENCE)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("interrupted", err.decode())
        out.decode()  # whole characters

    def test_the_store_is_not_needed_for_a_file(self):
        self.run_program("tokenize", SMOL, "hello", MOEBOX_STORE=self.path("no/such/store"))
        self.assertTrue(os.path.isdir(MODELS))


if __name__ == "__main__":
    unittest.main()
