"""moebox optimize: what it says, the profile that it writes, and who uses it."""
import glob
import json
import os
import unittest

from program import SMOL, ProgramTest


class OptimizeTest(ProgramTest):
    def profiles(self):
        return glob.glob(os.path.join(self.path("state"), "moebox", "profiles", "*"))

    def test_measures_writes_and_forgets(self):
        env = {"XDG_STATE_HOME": self.path("state")}
        found = json.loads(self.run_program("optimize", SMOL, "--rounds", "1", "--dry-run", "--json", **env)[0])
        self.assertGreaterEqual({"load", "prompt", "answer", "batch", "context"} & set(found["findings"]), {"load", "prompt", "answer", "batch", "context"})
        self.assertEqual(self.profiles(), [])
        titles = [group["title"] for group in found["groups"]]
        self.assertEqual(titles[0], "threads")
        for group in found["groups"]:
            self.assertIn(group["best"], [trial["name"] for trial in group["trials"]])
            for trial in group["trials"]:
                self.assertGreater(trial["prefill_tokens_per_second"], 0)
                self.assertGreater(trial["decode_tokens_per_second"], 0)
                self.assertGreater(trial["streams_tokens_per_second"], 0)
        # One thread holds although there are more: the better number is chosen, or none is better; both are said.
        if os.cpu_count() > 1:
            text, _ = self.run_program("optimize", SMOL, "--rounds", "1", **env, MOEBOX_THREADS="1")
            if self.profiles():
                self.assertIn("run and serve use it", text)
                shown, _ = self.run_program("run", SMOL, "--max-tokens", "1", "hello", "--json", **env)
                self.assertEqual(json.loads(shown)["generated_tokens"], 1)
            else:
                self.assertIn("no profile is needed", text)
        had = bool(self.profiles())
        _, err = self.run_program("optimize", SMOL, "--forget", **env)
        self.assertIn("removed" if had else "there is no profile", err)
        self.assertEqual(self.profiles(), [])

    def test_refuses_a_loss_that_cannot_be_measured(self):
        _, err = self.run_program("optimize", SMOL, "--max-loss", "1", code=2)
        self.assertIn("--text FILE", err)
        self.run_program("optimize", SMOL, "--text", self.path("missing.txt"), code=3)


if __name__ == "__main__":
    unittest.main()
