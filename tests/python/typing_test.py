"""A user's program under mypy --strict: the package is typed, for whom it is installed."""

import inspect
import subprocess
import sys

import moebox
from moebox import trainer

PROGRAM = '''
import moebox
from moebox.trainer import DistributedTrainer, Run

engine = moebox.Engine("model.gguf", threads=2, kv_type="q8_0")
answer = engine.generate("Why?", max_tokens=5, stop=["."])
tokens: list[int] = answer.token_ids
for piece in engine.generate([{"role": "user", "content": "Hi"}], stream=True):
    text: str = piece
    thinks: bool = piece.reasoning
ids: list[int] = moebox.Tokenizer("folder").encode(b"bytes")
data = moebox.data.DataSet("shards", split="held_out")
first: int = int(data[0][0]) + next(data.batches(4, 128)).n_learnt
run: Run = DistributedTrainer("tiny-moe", devices=[0, 1], batch_size=8).train("code_completion", epochs=0.5)
loss: float = float(run.losses[-1])
try:
    moebox.data.build("a.txt", out="o", tokenizer="t")
except moebox.Error as error:
    print(error.where, error.hint, error.kind)
'''

WRONG = '''
import moebox
moebox.Engine("model.gguf", kv_type="f64")
moebox.Engine("model.gguf").generate("x", temperture=1)
count: str = moebox.Tokenizer("folder").count("x")
'''


def mypy(tmp_path, text):
    program = tmp_path / "program.py"
    program.write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


def test_a_program_and_its_mistakes(tmp_path):
    done = mypy(tmp_path, PROGRAM)
    assert done.returncode == 0, done.stdout
    done = mypy(tmp_path, WRONG)
    lines = {line.split(":")[1] for line in done.stdout.splitlines() if "error:" in line}
    assert lines == {"3", "4", "5"}, done.stdout


def test_the_package_itself(tmp_path):
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "-p", "moebox"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "no issues found in 1" in done.stdout, done.stdout


def test_everything_public_has_words():
    missing = []
    for place in (moebox, moebox.data, moebox.tokenizer, trainer):
        for name, thing in inspect.getmembers(place):
            if name.startswith("_") or not getattr(thing, "__module__", "moebox").startswith("moebox"):
                continue
            if (inspect.isclass(thing) or inspect.isfunction(thing)) and not thing.__doc__:
                missing.append(f"{place.__name__}.{name}")
            if inspect.isclass(thing):
                members = {key: value for key, value in vars(thing).items() if not key.startswith("_")}
                missing += [
                    f"{place.__name__}.{name}.{key}"
                    for key, value in members.items()
                    if (inspect.isfunction(value) or isinstance(value, property)) and not value.__doc__
                ]
    assert missing == []
