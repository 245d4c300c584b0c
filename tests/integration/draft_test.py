"""A second model that drafts: what is refused, and that answers stay the same."""
import json
import os
import shutil
import unittest

from program import QWEN, SMOL, TESTS, ProgramTest

TINY = os.path.join(TESTS, "golden", "transformers", "models", "llama_gqa")  # without a tokenizer
OTHER = os.path.join(TESTS, "golden", "deepseek", "models", "tiny-v3")
USAGE, NOT_FOUND = 2, 3
QUESTION = "Name the seven days of the week."


class DraftTest(ProgramTest):
    def answer(self, *options, **environment):
        """The text, tokens, and drafts that were verified."""
        out, _ = self.run_program("run", SMOL, QUESTION, "--json", "--max-tokens", "60", *options, **environment)
        answer = json.loads(out)
        return answer["text"], answer["generated_tokens"], answer["drafted_tokens"]

    def test_answers_stay_the_same(self):
        for options in (("--temperature", "0"), ("--temperature", "0.8", "--seed", "4")):
            with self.subTest(options):
                plain = self.answer(*options)
                self.assertEqual(plain[2], 0)
                drafted = self.answer(*options, "--speculation", "draft", "--draft-model", SMOL)
                self.assertEqual(drafted[:2], plain[:2])

    def test_the_settings_go_together(self):
        commands = [("run", SMOL, QUESTION), ("show", SMOL), ("serve", SMOL, "--port", "0")]
        for command in commands:
            with self.subTest(command[0]):
                _, err = self.run_program(*command, "--speculation", "draft", code=USAGE)
                self.assertIn("--draft-model", err)
                for options in ((), ("--speculation", "ngram")):
                    _, err = self.run_program(*command, *options, "--draft-model", SMOL, code=USAGE)
                    self.assertIn("--draft-model", err)
                    self.assertIn("not used", err)
        # A file that names both is overruled by a word on the command line, which need not take back the other.
        config = self.write("config.toml", f'speculation = "draft"\ndraft_model = "{SMOL}"\n')
        self.assertEqual(self.answer("--temperature", "0", "--speculation", "off", MOEBOX_CONFIG=config),
                         self.answer("--temperature", "0"))
        _, err = self.run_program("run", SMOL, QUESTION, code=USAGE, MOEBOX_DRAFT_MODEL=SMOL)
        self.assertIn("MOEBOX_DRAFT_MODEL", err)

    def test_the_model_must_be_there_and_have_the_same_vocabulary(self):
        for command in (("run", SMOL, QUESTION), ("show", SMOL), ("serve", SMOL, "--port", "0")):
            with self.subTest(command[0]):
                options = ("--speculation", "draft", "--draft-model")
                _, err = self.run_program(*command, *options, QWEN, code=USAGE)
                self.assertIn("token 0 is '!', that of the model is '<|endoftext|>'", err)
                _, err = self.run_program(*command, *options, "./nothing.gguf", code=NOT_FOUND)
                self.assertIn("nothing.gguf", err)
        # Without a tokenizer there is the vocabulary's size.
        _, err = self.run_program("show", TINY, "--speculation", "draft", "--draft-model", OTHER, code=USAGE)
        self.assertIn("512", err)
        self.assertIn("272", err)

    def test_show_counts_both_models(self):
        def memory(*options):
            return json.loads(self.run_program("show", TINY, "--json", "--context", "256", *options)[0])["memory"]

        alone, with_draft = memory(), memory("--speculation", "draft", "--draft-model", TINY)
        self.assertEqual(alone["draft_weight_bytes"], 0)
        self.assertEqual(with_draft["draft_weight_bytes"], alone["weight_bytes"])
        for key in ("weight_bytes", "kv_bytes", "kv_bytes_per_token"):
            self.assertEqual(with_draft[key], 2 * alone[key], key)
        self.assertGreater(with_draft["step_bytes"], alone["step_bytes"])
        text, _ = self.run_program("show", TINY, "--speculation", "draft", "--draft-model", TINY)
        self.assertIn("draft model", text)

    def test_what_measures_a_model_takes_it_alone(self):
        config = self.write("config.toml", f'speculation = "draft"\ndraft_model = "{SMOL}"\n')
        self.run_program("pack", shutil.copy(SMOL, self.path("model.gguf")), MOEBOX_CONFIG=config)
        self.run_program("bench", SMOL, "--prefill", "8", "--decode", "4", "--repeat", "1", "--streams", "1",
                         MOEBOX_CONFIG=config)


if __name__ == "__main__":
    unittest.main()
