"""Verbs that another program of the house does: it lies beside moebox, gets the arguments as they were written, and its exit code counts."""
import os
import shutil
import subprocess
import unittest

from program import PROGRAM, ProgramTest

SHOWS_ITSELF = """#!/bin/sh
printf '%s\\n' "config=$MOEBOX_CONFIG" "$@"
cat
exit 7
"""


class CompanionTest(ProgramTest):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("bin"))
        shutil.copy(PROGRAM, self.path("bin/moebox"))

    def run_copy(self, *arguments, code, stdin=""):
        done = subprocess.run([self.path("bin/moebox"), *arguments], input=stdin, capture_output=True, text=True,
                              env=self.environment, cwd=self.home, timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout, done.stderr

    def make_companion(self):
        os.chmod(self.write("bin/moebox-data", SHOWS_ITSELF), 0o755)

    def test_it_gets_everything_as_it_was_written(self):
        self.make_companion()
        arguments = ["data", "build", "--help", "-x", "--config", "a b", "--", "show", ""]
        out, err = self.run_copy(*arguments, code=7, stdin="from stdin")
        self.assertEqual((out, err), ("config=\n" + "\n".join(arguments) + "\nfrom stdin", ""))
        out, _ = self.run_copy("--config", "data", "tokenizer", "train", code=7)
        self.assertEqual(out, "config=data\ntokenizer\ntrain\n")

    def test_where_it_is_missing_the_error_says_what_to_do(self):
        for verb, program, hint in (("data", "moebox-data", "ninja"), ("tokenizer", "moebox-data", "ninja"), ("train", "moebox-train", "make train"),
                                    ("verify", "moebox-train", "make train")):
            _, err = self.run_copy(verb, "build", code=5)
            self.assertRegex(err, rf"'moebox {verb}' needs the program {program}")
            self.assertIn(f"hint: in the sources: {hint}", err)
        self.write("bin/moebox-data", "not a program")
        self.run_copy("data", "build", code=5)

    def test_help_needs_no_companion(self):
        self.assertIn("moebox data build", self.run_copy("data", "--help", code=0)[0])


if __name__ == "__main__":
    unittest.main()
