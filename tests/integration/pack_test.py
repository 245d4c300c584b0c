"""moebox pack: packed weights beside the model, written whole or not at all, and used only when they are exactly right."""
import json
import os
import shutil
import subprocess
import time

from program import PATIENCE, PROGRAM, SMOL, TESTS, ProgramTest

TINY = os.path.join(TESTS, "golden", "deepseek", "models", "tiny-v3")
IDS = "1,2,3,4,5,6,7,8,9,10,11,12"


class PackTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.path("model")
        shutil.copytree(TINY, self.model)
        self.file = os.path.join(self.model, "weights.moebox-pack")

    def logits(self, *arguments, model=None, **environment):
        out = self.path("logits.npy")
        error = self.run_program("logits", model or self.model, "--ids", IDS, "--out", out, *arguments, **environment)[1]
        with open(out, "rb") as file:
            return file.read(), error

    def link_smol(self, path):
        os.link(SMOL, path) if os.stat(SMOL).st_dev == os.stat(self.home).st_dev else shutil.copy(SMOL, path)

    def pack_file(self, model=None):
        return json.loads(self.run_program("show", model or self.model, "--json")[0])["pack_file"]

    def test_packs_and_uses(self):
        expected = self.logits("--pack-file", "off")[0]
        self.assertFalse(self.pack_file()["usable"])
        self.assertIn("moebox pack", self.run_program("show", self.model)[0])
        out, error = self.run_program("pack", self.model, "--json")
        self.assertEqual(json.loads(out)["path"], self.file)
        self.assertTrue(error.endswith("  100 %\n"), error)
        self.assertTrue(self.pack_file()["usable"])
        found, error = self.logits(MOEBOX_LOG_LEVEL="info")
        self.assertEqual(found, expected)
        self.assertIn("pack file is used", error)
        self.assertEqual(self.logits("--expert-cache", "64MiB")[0], expected)

    def test_a_damaged_one_is_not_used(self):
        expected = self.logits()[0]
        self.run_program("pack", self.model)
        with open(self.file, "r+b") as file:
            file.seek(4096 + 5)
            byte = file.read(1)[0]
            file.seek(4096 + 5)
            file.write(bytes([byte ^ 16]))
        found, error = self.logits()
        self.assertEqual(found, expected)
        self.assertIn("pack file is not used", error)
        self.run_program("pack", self.model, "--force")
        self.assertNotIn("pack file", self.logits()[1])

    def test_a_cache_that_is_too_small_names_the_smallest(self):
        error = self.run_program("logits", self.model, "--ids", IDS, "--out", self.path("x.npy"), "--expert-cache", "10", code=7)[1]
        self.assertIn("expected at least", error)
        self.assertIn("MiB", error)

    def test_rm_removes_it_with_its_model(self):
        store = self.path("store")
        os.mkdir(store)
        self.link_smol(os.path.join(store, os.path.basename(SMOL)))
        name = "smollm2-135m-instruct"
        self.run_program("pack", name, "--store", store)
        self.assertEqual(len([file for file in os.listdir(store) if file.endswith(".moebox-pack")]), 1)
        self.run_program("rm", name, "--store", store)
        self.assertEqual([file for file in os.listdir(store) if "smol" in file], [])

    def test_two_at_once(self):
        expected = self.logits("--pack-file", "off")[0]
        processes = [self.start("pack", self.model, "--force") for _ in range(4)]
        codes = sorted(process.wait(timeout=120 * PATIENCE) for process in processes)
        self.assertEqual(codes, [0] * 4)
        self.assertEqual([name for name in os.listdir(self.model) if "pack" in name], ["weights.moebox-pack"])
        self.assertTrue(self.pack_file()["usable"])
        self.assertEqual(self.logits()[0], expected)

    def test_killed_in_the_middle(self):
        model = self.path("smol.gguf")
        self.link_smol(model)
        n_killed = 0
        for delay in (0.02, 0.05, 0.1, 0.2, 0.4):
            process = self.start("pack", model, "--force")
            time.sleep(delay)
            process.kill()
            n_killed += process.wait() != 0
            state = self.pack_file(model)
            self.assertTrue(state["usable"] or state["reason"] == "", state)  # whole, or not there
        self.assertGreater(n_killed, 0, "no attempt was killed in the middle")
        self.run_program("pack", model, "--force")
        self.assertEqual([name for name in os.listdir(self.home) if "pack" in name], ["smol.gguf.moebox-pack"])
        self.assertTrue(self.pack_file(model)["usable"])

    def in_namespace(self, script):
        """Runs a shell script that may mount; False where this system does not let us."""
        if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode != 0:
            self.skipTest("mounting is not allowed here")
        return subprocess.run(["unshare", "-rm", "sh", "-euc", script], capture_output=True, text=True, timeout=120 * PATIENCE,
                              env={**self.environment, "PROGRAM": PROGRAM, "MODEL": self.model, "HOME": self.home})

    def test_a_folder_that_cannot_be_written(self):
        done = self.in_namespace('mount -t tmpfs none /mnt; cp -a "$MODEL" /mnt/model; mount -o remount,ro /mnt;'
                                 '"$PROGRAM" pack /mnt/model --json; "$PROGRAM" show /mnt/model --json')
        self.assertEqual(done.returncode, 0, done.stderr)
        packed, end = json.JSONDecoder().raw_decode(done.stdout)
        shown = json.loads(done.stdout[end:])["pack_file"]
        self.assertTrue(packed["path"].startswith(os.path.join(self.home, ".cache", "moebox")), packed)
        self.assertEqual((shown["path"], shown["usable"]), (packed["path"], True))

    def test_no_space(self):
        done = self.in_namespace('mount -t tmpfs -o size=700k none /mnt; cp -a "$MODEL" /mnt/model; unset HOME XDG_CACHE_HOME;'
                                 'if "$PROGRAM" pack /mnt/model; then exit 9; fi; ls /mnt/model;'
                                 '"$PROGRAM" logits /mnt/model --ids 1,2 --out /dev/null --pack-file write')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("No space left", done.stderr)
        self.assertNotIn("moebox-pack", done.stdout)
