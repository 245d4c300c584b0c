"""moebox.trainer: from text to a model that answers; impossible sizes; Ctrl-C and going on. Needs moebox-train."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import moebox
import numpy
import pytest
from conftest import TINY
from moebox.trainer import DistributedTrainer, Run

SMALL = {"batch_size": 8, "sequence_length": 32, "threads": 1}

needs_program = pytest.mark.skipif(not os.environ.get("MOEBOX_TRAIN"), reason="moebox-train was not built: MOEBOX_TRAIN names none")


@needs_program
def test_from_text_to_answers(config, story, tmp_path, capfd):
    trainer = DistributedTrainer(
        config, **SMALL, gradient_accumulation_steps=2, gradient_checkpointing=True, learning_rate=0.01, output=tmp_path / "out"
    )
    run = trainer.train(story, epochs=1)
    said = capfd.readouterr()
    assert "a step: 8 sequences of 32 tokens, 256 in all, in 2 parts, with gradient checkpointing" in said.out
    assert "learnt from the text, 512 tokens" in said.out and "parameters" in said.err
    tokens = moebox.data.DataSet(tmp_path / "out" / "data").n_tokens
    assert run.finished and len(run.losses) == tokens // 256
    assert run.losses.dtype == numpy.float64 and run.losses[-1] < run.losses[0] - 0.5
    engine = moebox.Engine(run.model)
    assert engine.info["architecture"] == "deepseek_v3" and engine.info["n_experts"] == 8
    assert engine.generate("Ana found", raw=True, max_tokens=8, temperature=0).generated_tokens > 0
    assert Run.open(tmp_path / "out").finished
    with pytest.raises(moebox.Error, match="already"):
        trainer.train(story)


@needs_program
def test_parts_and_checkpointing_change_nothing_but_rounding(config, story, tmp_path):
    runs = [
        DistributedTrainer(config, **SMALL, gradient_accumulation_steps=parts, gradient_checkpointing=again, output=tmp_path / name)
        .train(story, steps=4)
        for name, parts, again in [("one", 1, False), ("two", 2, False), ("again", 2, True)]
    ]
    assert numpy.allclose(runs[0].losses, runs[1].losses, rtol=0, atol=1e-5)
    assert (runs[1].losses == runs[2].losses).all()


@needs_program
def test_several_devices_learn_what_one_learns(config, story, tmp_path):
    alone = DistributedTrainer(config, **SMALL, output=tmp_path / "one").train(story, steps=6)
    trainer = DistributedTrainer(config, devices=[0, 1], **SMALL, gradient_accumulation_steps=2, output=tmp_path / "two")
    together = trainer.train(story, steps=6)
    assert together.finished and together.devices == (0, 1)
    assert numpy.allclose(alone.losses, together.losses, rtol=0, atol=1e-5)
    assert moebox.Engine(together.model).generate("Ana", raw=True, max_tokens=3, ignore_end=True).generated_tokens == 3


@needs_program
def test_a_data_set_and_a_checkpoint_go_on(config, story, tmp_path):
    words = tmp_path / "words"
    moebox.tokenizer.train(story, vocabulary=512, out=words)
    moebox.data.build(sources=[{"path": str(story), "document": "line"}], out=tmp_path / "shards", tokenizer=words)
    first = DistributedTrainer(config, **SMALL, tokenizer=words, output=tmp_path / "a").train(tmp_path / "shards", steps=15)
    second = DistributedTrainer(first.model, **SMALL, learning_rate=1e-4, output=tmp_path / "b", recipe={"optimizer": {"clip": 0.5}})
    run = second.train(tmp_path / "shards", steps=3)
    assert run.losses[0] < first.losses[0]
    assert "clip = 0.5" in run.recipe.read_text()
    assert (run.model / "tokenizer.json").read_bytes() == (words / "tokenizer.json").read_bytes()


@needs_program
def test_the_line_that_the_readme_shows_is_checked(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    trainer = DistributedTrainer(
        model="tiny-moe", devices=[0, 1], batch_size=1024, gradient_accumulation_steps=4, gradient_checkpointing=True
    )
    run = trainer.train(dataset="code_completion", epochs=10, check=True)
    said = capfd.readouterr().out
    assert "2 processes" in said and "PSF-2.0" in said and "deepseek_v3: 30.71 M parameters" in said
    recipe = run.recipe.read_text()
    assert "sequences = 1024" in recipe and "accumulate = 4" in recipe and "gradient_checkpointing = true" in recipe
    assert run.recipe.parent == tmp_path / "tiny-moe-code_completion" and not run.folder.exists()
    assert moebox.data.DataSet(run.recipe.parent / "data").n_tokens > 500_000


@needs_program
@pytest.mark.parametrize("devices", [(0,), (0, 1)])
def test_ctrl_c_saves_and_the_run_goes_on_exactly(config, story, tmp_path, devices):
    options = {**SMALL, "devices": devices}
    program = f"""
from moebox.trainer import DistributedTrainer
try:
    DistributedTrainer({str(config)!r}, output={str(tmp_path / "out")!r}, **{options!r}).train({str(story)!r}, steps=60)
except KeyboardInterrupt:
    print("stopped")
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "out" / "run" / "train.log.jsonl"
    for _ in range(3000):
        if log.is_file() and log.read_bytes().count(b"\n") > 3:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert out.endswith("stopped\n"), err
    run = Run.open(tmp_path / "out", devices=devices)
    assert not run.finished and 0 < len(run.losses) < 60
    whole = run.resume()
    assert whole.finished and len(whole.losses) == 60
    without = DistributedTrainer(config, **options, output=tmp_path / "without").train(story, steps=60)
    assert (whole.losses == without.losses).all() and whole.log[-1]["weights"] == without.log[-1]["weights"]


@needs_program
def test_what_the_program_refuses_is_an_error(config, story, tmp_path):
    trainer = DistributedTrainer(config, **SMALL, output=tmp_path / "out", recipe={"optimizer": {"learning_rte": 1}})
    with pytest.raises(moebox.Error) as caught:
        trainer.train(story, steps=2)
    assert caught.value.kind == "invalid_argument" and "learning_rte" in str(caught.value)
    with pytest.raises(moebox.Error, match="a step takes"):
        DistributedTrainer(config, batch_size=4096, output=tmp_path / "out2", sequence_length=128).train(story)
    with pytest.raises(moebox.Error) as caught:
        DistributedTrainer(config, **SMALL, output=tmp_path / "out3").train(tmp_path / "nothing")
    assert caught.value.where == "dataset" and "code_completion" in caught.value.message


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"batch_size": 10, "gradient_accumulation_steps": 4}, "gradient_accumulation_steps"),
        ({"batch_size": 4, "gradient_accumulation_steps": 4, "devices": [0, 1]}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"devices": []}, "devices"),
        ({"devices": [0, 0]}, "devices"),
        ({"devices": [-1]}, "devices"),
        ({"sequence_length": 4096}, "sequence_length"),
        ({"model": "none-such"}, "model"),
    ],
)
def test_impossible_sizes(options, where):
    with pytest.raises(moebox.Error) as caught:
        DistributedTrainer(**options)
    assert caught.value.where == where


def test_without_the_program(config, story, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MOEBOX_TRAIN", raising=False)
    with pytest.raises(moebox.Error) as caught:
        DistributedTrainer(config, **SMALL, output=tmp_path / "out").train(story)
    assert "make train" in caught.value.hint and not (tmp_path / "out").exists()


def test_a_config_that_is_none(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("[" * 100)
    with pytest.raises(moebox.Error) as caught:
        DistributedTrainer(path)
    assert caught.value.kind == "invalid_file"


def test_the_recipe_that_comes_with_the_package():
    config = json.loads((pathlib.Path(moebox.__file__).parent / "recipes" / "tiny-moe" / "config.json").read_text())
    assert set(TINY) - {"attention_bias"} <= set(config)
