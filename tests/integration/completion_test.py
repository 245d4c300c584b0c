"""Completion scripts: they parse, and bash completes with them."""
import os
import re
import shutil
import subprocess
import unittest

from program import PROGRAM, ProgramTest, Terminal, read_text

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
        self.assertEqual(sorted(self.complete("moebox", "r")), ["report", "rm", "run"])
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

    def test_bash_completes_what_convert_takes(self):
        self.write("smol-file.gguf", "x")
        self.assertEqual(self.complete("moebox", "convert", "smol-f"), ["smol-file.gguf"])
        self.assertEqual(self.complete("moebox", "convert", "a", "b", "--type", "Q8"), ["Q8_0"])

    # What is typed, and what its last word may become. The folder has a file prompt.txt.
    TYPED = (("moebox se", {"serve"}), ("moebox --config prompt.txt lis", {"list"}), ("moebox run --temp", {"--temperature", "--template"}),
             ("moebox run smollm2-1", {"smollm2-135m-instruct", "smollm2-1.7b-instruct"}), ("moebox run --kv-type q", {"q8_0"}),
             ("moebox run m --file pro", {"prompt.txt"}), ("moebox config server.ke", {"server.keep_alive", "server.keys_file"}),
             ("moebox completion z", {"zsh"}), ("moebox convert pro", {"prompt.txt"}), ("moebox convert a b --type Q8", {"Q8_0"}),
             ("moebox run show --app", set()), ("moebox run show --tens", set()))

    @unittest.skipUnless(shutil.which("fish"), "fish is not here")
    def test_fish_completes(self):
        self.write("prompt.txt", "x")
        script = self.script("fish")
        for typed, expected in self.TYPED:
            done = subprocess.run(["fish", "--no-config", "-c", f"source {script}; complete -C '{typed}'"], capture_output=True, text=True,
                                  env=self.environment, cwd=self.home)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            with self.subTest(typed):
                self.assertEqual({line.split("\t")[0] for line in done.stdout.splitlines()}, expected)

    @unittest.skipUnless(shutil.which("zsh"), "zsh is not here")
    def test_zsh_completes(self):
        self.write("prompt.txt", "x")
        self.script("zsh")
        os.renames(self.path("completion.zsh"), self.path("functions/_moebox"))
        zsh = Terminal(self, [shutil.which("zsh"), "-f"], self.environment, 160)
        self.addCleanup(zsh.kill)
        # The list of what fits is told as the shell's own function hands it over, in brackets; then the line is cleared.
        zsh.line("PS1='' fpath=(~/functions $fpath); autoload -Uz compinit && compinit -u -D; "
                 "compadd() { local -a found; builtin compadd -O found \"$@\"; print -rn -- \"<$found>\"; builtin compadd \"$@\" }; "
                 "bindkey '^I' list-choices; print rea''dy")
        zsh.expect("ready")
        for typed, expected in self.TYPED:
            zsh.expect(r"\x1b\[\?2004h")  # its editor reads: before, the terminal itself would take Ctrl-U, and the line with it
            zsh.send(typed + "\t\x15")
            zsh.line("print do''ne")
            seen = zsh.expect("(.*)done\r").group(1)
            with self.subTest(typed):
                self.assertEqual({word for found in re.findall("<([^>]*)>", seen) for word in found.split()}, expected)

    def test_every_option_is_in_every_script(self):
        for shell in ("bash", "zsh", "fish"):
            text = read_text(self.script(shell))
            for word in ("temperature", "tls-certificate", "keep-alive", "max-tokens", "json", "completion"):
                self.assertIn(word, text, shell)


if __name__ == "__main__":
    unittest.main()
