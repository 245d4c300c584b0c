"""Help, versions, and what happens to what was mistyped."""
import re
import unicodedata
import unittest

from program import ProgramTest

VERBS = ["run", "serve", "pull", "list", "rm", "show", "convert", "pack", "bench", "optimize", "tokenize", "perplexity", "logits", "data", "tokenizer", "train", "verify", "report", "config", "completion", "version"]


def columns(line):
    """Of a terminal."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


class HelpTest(ProgramTest):
    def test_without_arguments_it_explains_itself_in_a_screen(self):
        for language in ("zh_CN.UTF-8", "C.UTF-8"):
            out, err = self.run_program(LANG=language)
            self.assertEqual(err, "")
            self.assertLessEqual(len(out.splitlines()), 24)
            self.assertEqual([line for line in out.splitlines() if columns(line) > 80], [])
            for verb in VERBS:
                self.assertRegex(out, rf"\n  moebox (\w+, )*{verb}[ ,]")
        self.assertEqual(self.run_program("--help")[0], out)
        self.assertEqual(self.run_program("-h")[0], out)

    def test_every_verb_has_help_with_examples(self):
        for verb in VERBS:
            with self.subTest(verb):
                out, err = self.run_program(verb, "--help")
                self.assertEqual(err, "")
                self.assertIn("Usage: moebox " + verb, out)
                self.assertRegex(out, rf"Examples:\n(.*\n)*  .*moebox {verb}\b")

    def test_help_does_not_need_a_good_configuration(self):
        config = self.write("bad.toml", "this is = = not toml")
        for arguments in ([], ["--help"], ["run", "--help"], ["version"], ["completion", "bash"]):
            self.run_program(*arguments, MOEBOX_CONFIG=config)
        self.run_program("list", code=2, MOEBOX_CONFIG=config)

    def test_a_mistyped_verb_names_the_nearest(self):
        _, err = self.run_program("shwo", code=2)
        self.assertEqual(err, "moebox: error: there is no verb 'shwo'\n  hint: did you mean 'show'?\n")
        _, err = self.run_program("zzzzzz", code=2)
        self.assertIn("moebox --help", err)

    def test_a_mistyped_option_names_the_nearest(self):
        _, err = self.run_program("run", "--tmperature", "0.1", "x", code=2)
        self.assertEqual(err, "moebox: error: run does not know '--tmperature'\n  hint: did you mean '--temperature'?\n")
        _, err = self.run_program("list", "--jsno=1", code=2)
        self.assertIn("did you mean '--json'?", err)

    def test_missing_and_wrong_values(self):
        self.assertIn("moebox run --help", self.run_program("run", "--seed", code=2)[1])
        self.assertIn("expected a number from 0 to 100, found 'hot'", self.run_program("run", "--temperature", "hot", "m", "p", code=2)[1])
        self.assertIn("--port", self.run_program("serve", "--port", "70000", code=2)[1])
        self.assertIn("expected one of f16|bf16|q8_0|f32", self.run_program("run", "--kv-type", "f8", "m", "p", code=2)[1])
        self.run_program("show", code=2)
        self.run_program("completion", "tcsh", code=2)

    def test_version(self):
        out, _ = self.run_program("version")
        self.assertRegex(out, r"^moebox \d+\.\d+\.\d+ \((x86-64|arm64), \w+.*\)\n$")
        self.assertEqual(self.run_program("--version")[0], out)

    def test_chinese_where_the_locale_says_so(self):
        out, _ = self.run_program(LANG="zh_CN.UTF-8")
        self.assertIn("在自己的硬件上", out)
        _, err = self.run_program("show", "nothing", code=3, LC_ALL="zh_CN.UTF-8", LANG="en_US.UTF-8")
        self.assertRegex(err, r"^moebox: 错误：")
        _, err = self.run_program("show", "nothing", code=3, LC_ALL="C", LANG="zh_CN.UTF-8")
        self.assertTrue(re.match(r"moebox: error: ", err))
        _, err = self.run_program("show", "nothing", code=3, MOEBOX_LANGUAGE="zh")
        self.assertRegex(err, r"^moebox: 错误：")


if __name__ == "__main__":
    unittest.main()
