"""Completion scripts: they parse, and bash completes with them."""
import os
import shutil
import subprocess
import unittest

from program import PROGRAM, ProgramTest, read_text

# Asks bash itself: sets what it would set, calls what it would call.
ASK = r"""
source "$SCRIPT"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_moebox 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
"""


class CompletionTest(ProgramTest):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("bin"))
        os.symlink(PROGRAM, self.path("bin/moebox"))
        self.environment["PATH"] = self.path("bin") + ":" + self.environment["PATH"]

    def script(self, shell):
        return self.write("completion." + shell, self.run_program("completion", shell)[0])

    def complete(self, *words):
        done = subprocess.run(["bash", "--norc", "-c", ASK, "bash", *words], capture_output=True, text=True, cwd=self.home,
                              env={**self.environment, "SCRIPT": self.script("bash")})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()

    def test_scripts_parse(self):
        for shell, check in (("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])):
            script = self.script(shell)
            self.assertGreater(os.path.getsize(script), 1000)
            if shutil.which(check[0]):
                done = subprocess.run([*check, script], capture_output=True, text=True, env=self.environment)
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_bash_completes_verbs(self):
        self.assertEqual(self.complete("moebox", "se"), ["serve"])
        self.assertEqual(sorted(self.complete("moebox", "r")), ["rm", "run"])
        self.assertEqual(self.complete("moebox", "--config", "x.toml", "lis"), ["list"])

    def test_bash_completes_options_of_the_verb(self):
        self.assertEqual(sorted(self.complete("moebox", "run", "model", "--temp")), ["--temperature", "--template"])
        self.assertIn("--tls-key", self.complete("moebox", "serve", "--tls"))
        self.assertNotIn("--tls-key", self.complete("moebox", "run", "--"))

    def test_bash_completes_values(self):
        self.assertEqual(self.complete("moebox", "run", "--kv-type", ""), ["f16", "bf16", "q8_0", "f32"])
        self.assertEqual(self.complete("moebox", "completion", "z"), ["zsh"])
        self.assertEqual(self.complete("moebox", "config", "server.keep"), ["server.keep_alive"])
        self.write("prompt.txt", "x")
        self.assertEqual(self.complete("moebox", "run", "m", "--file", "pro"), ["prompt.txt"])

    def test_bash_completes_models_and_files(self):
        self.write("smol-file.gguf", "x")
        found = self.complete("moebox", "run", "smol")
        self.assertIn("smollm2-135m-instruct", found)
        self.assertIn("smol-file.gguf", found)

    def test_every_option_is_in_every_script(self):
        for shell in ("bash", "zsh", "fish"):
            text = read_text(self.script(shell))
            for word in ("temperature", "tls-certificate", "keep-alive", "max-tokens", "json", "completion"):
                self.assertIn(word, text, shell)


if __name__ == "__main__":
    unittest.main()
