"""Settings: option before environment before file before default, and `moebox config` tells which."""
import json
import unittest

from program import TESTS, ProgramTest, read_text


class ConfigTest(ProgramTest):
    def config(self, *arguments, **environment):
        return json.loads(self.run_program("config", "--json", *arguments, **environment)[0])

    def test_precedence(self):
        self.assertEqual(self.config()["temperature"]["origin"], "default")
        file = self.write(".config/moebox/config.toml", 'temperature = 0.25\n[server]\nport = 9999\n')
        found = self.config("temperature", "server.port")
        self.assertEqual((found["temperature"]["value"], found["temperature"]["origin"]), ("0.25", "file"))
        self.assertEqual(found["temperature"]["place"], file + ":1")
        self.assertEqual((found["server.port"]["value"], found["server.port"]["place"]), ("9999", file + ":3"))
        found = self.config(MOEBOX_TEMPERATURE="0.5")
        self.assertEqual((found["temperature"]["value"], found["temperature"]["origin"]), ("0.5", "environment"))
        other = self.write("other.toml", "temperature = 0.75")
        self.assertEqual(self.config(MOEBOX_CONFIG=other)["temperature"]["value"], "0.75")
        out, _ = self.run_program("--config", other, "config", "temperature")
        self.assertIn("0.75", out)

    def test_the_file_may_be_named_before_or_after_the_verb(self):
        first, second = self.write("first.toml", "temperature = 0.125"), self.write("second.toml", "temperature = 0.625")
        for arguments in (["--config", first, "config"], ["config", "--config", first], ["config", f"--config={first}"],
                          ["--config", second, "config", "--config", first]):
            with self.subTest(arguments):
                out, _ = self.run_program(*arguments, "temperature")
                self.assertIn("0.125", out)
        for verb in ("run", "serve", "pull", "list", "rm", "show", "bench", "tokenize", "perplexity", "logits"):
            with self.subTest(verb):
                self.assertIn("--config FILE", self.run_program(verb, "--help")[0])
        _, err = self.run_program("list", "--config", self.path("none.toml"), code=3)
        self.assertIn("none.toml", err)

    def test_xdg_config_home(self):
        self.write("elsewhere/moebox/config.toml", "threads = 1\n")
        self.assertEqual(self.config("threads", XDG_CONFIG_HOME=self.path("elsewhere"))["threads"]["value"], "1")

    def test_typos_name_the_nearest_key_and_the_line(self):
        file = self.write(".config/moebox/config.toml", "\n\ntempreature = 1\n")
        _, err = self.run_program("list", code=2)
        self.assertEqual(err, f"moebox: error: {file}:3: there is no setting 'tempreature'\n  hint: did you mean 'temperature'?\n")
        self.write(".config/moebox/config.toml", "temperature = 1\n")
        _, err = self.run_program("config", MOEBOX_TEMPRATURE="1")
        self.assertIn("MOEBOX_TEMPRATURE means nothing to moebox; did you mean MOEBOX_TEMPERATURE?", err)
        _, err = self.run_program("config", "treads", code=2)
        self.assertIn("did you mean 'threads'?", err)

    def test_secrets_are_not_shown(self):
        out, err = self.run_program("config", HF_TOKEN="hf_secret_value")
        self.assertNotIn("hf_secret_value", out + err)
        self.assertIn("not shown", out)
        self.assertNotIn("hf_secret_value", json.dumps(self.config(HF_TOKEN="hf_secret_value")))

    def test_the_template_is_a_valid_file(self):
        template, _ = self.run_program("config", "--template")
        # Without the comment signs every default must be accepted.
        lines = []
        for line in template.splitlines():
            lines.append(line[1:] if line.startswith("#") and not line.startswith("# ") else line)
        file = self.write("all.toml", "\n".join(lines))
        found = self.config(MOEBOX_CONFIG=file)
        self.assertEqual(found["server.port"]["origin"], "file")
        self.assertEqual(found["top_p"]["value"], "0.95")

    def test_the_manual_lists_every_setting(self):
        manual = read_text(f"{TESTS}/../docs/cli.md")
        for key, setting in self.config().items():
            self.assertIn(f"`{key}`", manual)
            self.assertIn(setting["environment"], manual)


if __name__ == "__main__":
    unittest.main()
