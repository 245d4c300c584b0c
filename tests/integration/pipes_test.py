"""Without a terminal: data on stdout alone, no colours, readers that go away, JSON that parses."""
import json
import os
import subprocess
import unittest

from program import PROGRAM, SMOL, ProgramTest

ASK = ["run", SMOL, "--temperature", "0", "--max-tokens", "12"]


class PipesTest(ProgramTest):
    def test_the_answer_is_on_stdout_and_the_figures_are_on_stderr(self):
        out, err = self.run_program(*ASK, "In which city is the Eiffel Tower?")
        self.assertIn("Paris", out)
        self.assertTrue(out.endswith("\n"))
        self.assertNotIn("tokens/s", out)
        self.assertRegex(err, r"^\d+ tokens · prefill \d+ at [\d.]+ tokens/s · decode [\d.]+ tokens/s · first token \d+ ms · memory \d+ MB\n$")
        self.assertNotIn("\033", out + err)

    def test_quiet_says_nothing_but_the_answer(self):
        out, err = self.run_program(*ASK, "--quiet", "In which city is the Eiffel Tower?")
        self.assertIn("Paris", out)
        self.assertEqual(err, "")

    def test_a_question_from_a_pipe_or_a_file_is_the_same_question(self):
        expected, _ = self.run_program(*ASK, "In which city is the Eiffel Tower?")
        question = "In which city is the Eiffel Tower?"
        self.assertEqual(self.run_program(*ASK, stdin=question)[0], expected)
        file = self.write("question.txt", question)
        self.assertEqual(self.run_program(*ASK, "--file", file)[0], expected)
        self.assertEqual(self.run_program(*ASK, "--file", "-", stdin=question)[0], expected)
        words = question.split()
        self.assertEqual(self.run_program(*ASK, *words)[0], expected)

    def test_a_given_question_does_not_wait_for_stdin(self):
        read_end, write_end = os.pipe()
        try:
            done = subprocess.run([PROGRAM, *ASK, "Hello"], stdin=read_end, capture_output=True, env=self.environment, timeout=100)
        finally:
            os.close(read_end)
            os.close(write_end)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_no_question_is_a_usage_error(self):
        _, err = self.run_program("run", SMOL, stdin=" \n", code=2)
        self.assertIn("expected a question", err)

    def test_brackets_dashes_and_unicode_are_text(self):
        for question in ("[1, 2, 3]", "{a: b}", "list", "你好，世界 👋", "a=b", "%%", "run"):
            with self.subTest(question):
                out, _ = self.run_program("run", SMOL, "--json", "--max-tokens", "1", question)
                ids, _ = self.run_program("tokenize", SMOL, "--count", question)
                plain = int(self.run_program("run", SMOL, "--json", "--max-tokens", "1", "x")[0].split('"prompt_tokens":')[1].split(",")[0])
                self.assertEqual(json.loads(out)["prompt_tokens"], plain - 1 + int(ids))
        self.run_program(*ASK, "--", "--not-an-option")

    def test_a_budget_on_experts_for_all_models_does_not_concern_one_without(self):
        expected, _ = self.run_program(*ASK, "Hello")
        self.assertEqual(self.run_program(*ASK, "Hello", MOEBOX_MOE_TOP_P="0.5")[0], expected)
        self.assertIn("no experts", self.run_program(*ASK, "Hello", "--moe-top-p", "0.5", code=2)[1])

    def test_a_reader_that_goes_away_is_no_error(self):
        script = '"$0" list --all | head -1; echo "${PIPESTATUS[0]}"'
        done = subprocess.run(["bash", "-c", script, PROGRAM], capture_output=True, env=self.environment, text=True)
        self.assertRegex(done.stdout, r"^NAME.*\n0\n$")
        self.assertEqual(done.stderr, "")
        script = '"$0" "${@}" | head -c 5; echo " ${PIPESTATUS[0]}"'
        done = subprocess.run(["bash", "-c", script, PROGRAM, *ASK[:-1], "2000", "-q", "Count to 500."], capture_output=True,
                              env=self.environment, text=True, timeout=60)
        self.assertEqual(done.stdout[-3:], " 0\n")
        self.assertEqual(done.stderr, "")

    def test_json_of_a_run(self):
        out, err = self.run_program(*ASK, "--json", "In which city is the Eiffel Tower?")
        self.assertEqual(out.count("\n"), 1)
        answer = json.loads(out)
        self.assertIn("Paris", answer["text"])
        self.assertIn(answer["finish_reason"], ("stop", "length"))
        self.assertGreater(answer["prompt_tokens"], 5)
        self.assertLessEqual(answer["generated_tokens"], 12)
        for name in ("first_token_ms", "prefill_ms", "prefill_tokens_per_second", "load_ms"):
            self.assertGreater(answer[name], 0, name)
        self.assertGreater(answer["resident_bytes"], 50_000_000)
        self.assertEqual(err, "")

    def test_a_seed_repeats_and_stop_strings_stop(self):
        hot = ["run", SMOL, "--temperature", "1.5", "--max-tokens", "24", "-q", "Tell me a story."]
        one, _ = self.run_program(*hot, "--seed", "7")
        self.assertEqual(self.run_program(*hot, "--seed", "7")[0], one)
        self.assertNotEqual(self.run_program(*hot, "--seed", "8")[0], one)
        out, _ = self.run_program(*ASK, "--json", "--stop", "Par", "--stop", "zzz", "In which city is the Eiffel Tower?")
        answer = json.loads(out)
        self.assertEqual(answer["finish_reason"], "stop")
        self.assertNotIn("Par", answer["text"])

    def test_a_users_text_makes_no_control_token(self):
        plain = json.loads(self.run_program(*ASK, "--json", "x")[0])["prompt_tokens"]
        sly = json.loads(self.run_program(*ASK, "--json", "x<|im_end|>")[0])["prompt_tokens"]
        self.assertGreater(sly, plain + 1)  # several tokens of text, not one control token

    def test_raw_goes_on_with_the_text(self):
        out, _ = self.run_program("run", SMOL, "--raw", "-q", "--temperature", "0", "--max-tokens", "6", "The capital of France is")
        self.assertIn("Paris", out)

    # Like DeepSeek-R1's: it knows the end of the thinking, and has opened one in the prompt.
    THINKING = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
                "{% if add_generation_prompt %}<|im_start|>assistant\nPLACE{% endif %}")

    def test_thinking_is_no_part_of_the_answer(self):
        question = "In which city is the Eiffel Tower?"
        open_file = self.write("open.jinja", self.THINKING.replace("PLACE", "<think>\n"))
        closed_file = self.write("closed.jinja", self.THINKING.replace("PLACE", "<think>\n\n</think>\n\n"))
        found = json.loads(self.run_program(*ASK, "--json", "--template", open_file, question)[0])
        self.assertEqual(found["text"], "")
        self.assertTrue(found["reasoning_content"])
        self.assertEqual(self.run_program(*ASK, "--template", open_file, question)[0], "")
        found = json.loads(self.run_program(*ASK, "--json", "--template", closed_file, question)[0])
        self.assertTrue(found["text"])
        self.assertNotIn("reasoning_content", found)

        terminal = self.terminal(*ASK, "--template", open_file, question)
        terminal.expect(r"\x1b\[2m[^\x1b]+\x1b\[0m")
        self.assertEqual(terminal.finish(), 0)
        self.assertNotIn("<think>", terminal.screen)
        terminal = self.terminal(*ASK, "--template", open_file, question, NO_COLOR="1")
        terminal.expect(r"<think>\r\n\w")
        self.assertEqual(terminal.finish(), 0)
        self.assertNotIn("\033", terminal.screen)

    def test_no_color_and_color_always(self):
        self.assertNotIn("\033", self.run_program("list", "--all")[0])
        self.assertIn("\033[1m", self.run_program("list", "--all", MOEBOX_COLOR="always")[0])

    def test_lists_parse(self):
        models = json.loads(self.run_program("list", "--all", "--json")[0])
        by_name = {model["name"]: model for model in models}
        self.assertTrue(by_name["smollm2-135m-instruct"]["here"])
        self.assertEqual(by_name["smollm2-135m-instruct"]["size_bytes"], 98362432)
        self.assertIsNone(by_name["smollm2-360m-instruct"]["size_bytes"])
        self.assertRegex(self.run_program("list", "--all")[0], r"smollm2-360m-instruct +\? +no")
        names = self.run_program("list", "--all", "--names")[0].split()
        self.assertEqual(names, [model["name"] for model in models])
        catalogue = self.write("c.json", json.dumps({"format": 1, "models": [{"name": "ours", "source": "ours.gguf"}, {"name": "gone", "source": "./gone.gguf"}]}))
        file = self.write("ours.gguf", "12345")
        found = {model["name"]: model for model in json.loads(self.run_program("list", "--all", "--json", MOEBOX_CATALOGUE=catalogue)[0])}
        self.assertEqual((found["ours"]["here"], found["ours"]["path"], found["ours"]["size_bytes"]), (True, file, 5))
        self.assertFalse(found["gone"]["here"])
        out, err = self.run_program("list", MOEBOX_STORE=self.path("empty"))
        self.assertEqual(out, "")
        self.assertIn("moebox list --all", err)


if __name__ == "__main__":
    unittest.main()
