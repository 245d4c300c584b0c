"""docs/python.md: its programs run, but for the one that trains for hours (trainer_test.py)."""

import os
import re

from conftest import ROOT

PAGE = ROOT / "docs" / "python.md"


def test_the_programs_of_the_page_run(tmp_path, monkeypatch, story, smollm):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOEBOX_STORE", str(smollm.parent))
    os.rename(story, tmp_path / "texts.txt")
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text("utf-8"))
    programs = [block for block in blocks if "DistributedTrainer" not in block]
    assert len(programs) == 3 and len(blocks) == 4
    names = {}
    for program in programs:
        exec(compile(program, str(PAGE), "exec"), names)
    assert names["data"].n_tokens > 1000 and names["batch"].tokens.shape == (8, 128)
