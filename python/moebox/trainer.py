"""Models trained by the program moebox-train (docs/training.md).

    >>> from moebox.trainer import DistributedTrainer
    >>> trainer = DistributedTrainer(model="tiny-moe", devices=[0, 1], batch_size=1024,
    ...                              gradient_accumulation_steps=4, gradient_checkpointing=True)
    >>> run = trainer.train(dataset="code_completion", epochs=10)
    >>> run.losses[-1], run.model
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import numpy
from numpy.typing import NDArray

from moebox import _train_program, _training_data, data, tokenizer
from moebox._arguments import Path
from moebox._toml import toml_text
from moebox._training_data import TrainingSet, TrainingText
from moebox.errors import Error

#: The recipe's key for what `gradient_checkpointing` asks for; () is its top.
_CHECKPOINTING_KEY = "gradient_checkpointing"


@dataclass(frozen=True)
class Run:
    """A training run: a folder with its recipe, its log, its checkpoints and its model.

    Attributes:
        folder: of the run: train.log.jsonl, checkpoints, model.
        recipe: the TOML file that it was started with.
        devices: the numbers of its processes.
        finished: whether all steps were done.
    """

    folder: pathlib.Path
    recipe: pathlib.Path
    devices: tuple[int, ...] = (0,)
    finished: bool = False

    @classmethod
    def open(cls, folder: Path, *, devices: Sequence[int] = (0,)) -> Run:
        """The run whose `output` was this folder. Raises `Error` when there is none."""
        place = pathlib.Path(folder).resolve()
        recipe = place / "recipe.toml"
        if not recipe.is_file():
            raise Error("expected a run, found no recipe.toml", str(place), "", "not_found")
        run = cls(place / "run", recipe, _device_numbers(devices))
        return run._as_it_is()

    @property
    def model(self) -> pathlib.Path:
        """The trained model: a Hugging Face folder, which `moebox.Engine` and transformers load."""
        return self.folder / "model"

    @property
    def log(self) -> list[dict[str, Any]]:
        """A dict a step, as train.log.jsonl has them: step, tokens, loss, gradient_norm, learning_rate, load ..."""
        path = self.folder / "train.log.jsonl"
        if not path.is_file():
            return []
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return [line for line in lines if "step" in line]

    @property
    def losses(self) -> NDArray[numpy.float64]:
        """(steps done,): the mean loss of each step in nats a token; NaN where it was no finite number."""
        values = [line["loss"] for line in self.log]
        return numpy.array([math.nan if value is None else value for value in values], dtype=numpy.float64)

    def resume(self) -> Run:
        """Goes on exactly where the newest checkpoint is, to the end of the recipe's steps.

        Raises:
            Error: the run cannot go on; it says why.
            KeyboardInterrupt: Ctrl-C; what was learnt is saved.
        """
        done = _train_program.run(["train", str(self.recipe), "--resume", *_device_arguments(self.devices)])
        return Run(self.folder, self.recipe, self.devices, done)

    def _as_it_is(self) -> Run:
        steps = re.search(r"(?m)^steps = (\d+)$", self.recipe.read_text("utf-8"))
        log = self.log
        finished = bool(steps and log) and log[-1]["step"] >= int(steps.group(1) if steps else 0)
        return Run(self.folder, self.recipe, self.devices, finished)


class DistributedTrainer:
    """Trains a model on the processors of this machine, with one process for each device.

    Nothing is loaded or started before `train`; only what can never be is refused at once.

    Args:
        model: a model that comes with the package ("tiny-moe": 31 M parameters, 9 M of them for each token); a
            config.json, for random weights of these sizes; or a Hugging Face folder or GGUF file to go on from.
        devices: a number for each process: [0, 1] are two.
        batch_size: sequences of a step, of all devices together.
        gradient_accumulation_steps: parts that a step's sequences are taken in: memory is a part's.
        gradient_checkpointing: keep of each layer only what goes in: less memory, more time, the same bits.
        sequence_length: tokens of a sequence.
        learning_rate: the highest.
        warmup_steps: steps up to it; None: a tenth of all steps, at most 100.
        products: type of the products: "f32", "bf16", or "auto": what this machine is faster in, probed at the start.
        tokenizer: a model's name, file or folder; None: the model's own, or one that is learnt from the text.
        seed: of the weights and of the order of the data.
        threads: of each process; 0: the processors are shared out.
        output: a new folder for everything; None: "MODEL-DATASET" in the working directory.
        gguf: a type of `moebox convert` such as "Q8_0": a GGUF file is made as well.
        recipe: further tables of the recipe (docs/training.md), which go before what follows from the arguments:
            `{"optimizer": {"weight_decay": 0.01}, "schedule": {"kind": "wsd", "decay_steps": 100}}`.

    Raises:
        Error: numbers that do not go together, a model that is not there.
    """

    def __init__(
        self,
        model: Path = "tiny-moe",
        *,
        devices: Sequence[int] = (0,),
        batch_size: int = 32,
        gradient_accumulation_steps: int = 1,
        gradient_checkpointing: bool = False,
        sequence_length: int = 256,
        learning_rate: float = 1e-3,
        warmup_steps: int | None = None,
        products: Literal["f32", "bf16", "auto"] = "f32",
        tokenizer: Path | None = None,
        seed: int = 0,
        threads: int = 0,
        output: Path | None = None,
        gguf: str | None = None,
        recipe: Mapping[str, object] | None = None,
    ) -> None:
        self._devices = _device_numbers(devices)
        self._model = _Model.find(model)
        self._batch_size = _from_one("batch_size", batch_size)
        self._parts = _from_one("gradient_accumulation_steps", gradient_accumulation_steps)
        self._sequence_length = _from_one("sequence_length", sequence_length, least=2)
        if batch_size % gradient_accumulation_steps != 0:
            raise Error(
                f"expected a number that divides the {batch_size} sequences of a step, found {gradient_accumulation_steps}",
                "gradient_accumulation_steps",
            )
        if batch_size // gradient_accumulation_steps < len(self._devices):
            raise Error(
                f"expected a sequence for each of {len(self._devices)} devices in each of "
                f"{gradient_accumulation_steps} parts, found {batch_size} sequences",
                "batch_size",
                "a larger batch, fewer parts, or fewer devices",
            )
        longest = self._model.config.get("max_position_embeddings")
        if isinstance(longest, int) and sequence_length > longest:
            raise Error(f"expected at most the model's {longest} tokens, found {sequence_length}", "sequence_length")
        self._gradient_checkpointing = gradient_checkpointing
        self._learning_rate = learning_rate
        self._warmup_steps = warmup_steps
        self._products = products
        self._tokenizer = None if tokenizer is None else str(tokenizer)
        self._seed = seed
        self._threads = threads
        self._output = None if output is None else pathlib.Path(output)
        self._gguf = gguf
        self._recipe = dict(recipe or {})

    def train(self, dataset: Path, *, epochs: float = 1, steps: int | None = None, check: bool = False) -> Run:
        """Says what it will do, and does it.

        Text becomes a data set first (`OUTPUT/data`), with the tokenizer, or with one that is learnt from it
        (`OUTPUT/tokenizer`). Then moebox-train does the steps (`OUTPUT/run`), by the recipe `OUTPUT/recipe.toml`.

        Args:
            dataset: a folder that `moebox.data.build` made; a file or a folder of text or code; or "code_completion":
                the source of Python's standard library as it is installed (PSF-2.0).
            epochs: how often every token is learnt; the steps follow from it.
            steps: so many steps instead.
            check: say what would be done, and do no step.

        Returns:
            The run: its folder, losses and model.

        Raises:
            Error: a data set that is smaller than one step, a folder that has a run already, moebox-train is not there
                (`make train` builds it), or it failed.
            KeyboardInterrupt: Ctrl-C. What was learnt is saved: `Run.open(OUTPUT).resume()` goes on.
        """
        _train_program.find()
        if not epochs > 0 or not math.isfinite(epochs):
            raise Error(f"expected a number above 0, found {epochs}", "epochs")
        found = _training_data.find(dataset)
        output = (self._output or pathlib.Path(f"{self._model.name}-{pathlib.Path(found.name).stem}")).resolve()
        if (output / "run").exists():
            raise Error(
                "a run is there already",
                str(output),
                "moebox.trainer.Run.open(...).resume() goes on with it; or name another output",
            )
        output.mkdir(parents=True, exist_ok=True)
        print(self._plan(found, output))
        folder, words = self._data(found, output)
        shards = data.DataSet(folder)
        n_steps = self._steps(shards, epochs, steps)
        path = output / "recipe.toml"
        path.write_text(toml_text(self._recipe_of(folder, words, output, n_steps)), "utf-8")
        print(f"data: {len(shards):,} documents, {shards.n_tokens:,} tokens: {n_steps:,} steps", flush=True)
        # Everything that a recipe can have wrong is told here, as an exception.
        plan = _train_program.ask(["train", str(path), "--check"])
        run = Run(output / "run", path, self._devices)
        if check:
            print(plan.strip(), flush=True)
            return run
        # The program itself begins with the plan: parameters, threads, memory.
        done = _train_program.run(["train", str(path), *_device_arguments(self._devices)])
        return Run(run.folder, path, self._devices, done)

    def _plan(self, found: TrainingText | TrainingSet, output: pathlib.Path) -> str:
        one = len(self._devices) == 1
        lines = [
            f"model {self._model.name}: {self._model.place}",
            f"{'1 process' if one else f'{len(self._devices)} processes'} on this machine's processors"
            f" ({'device' if one else 'devices'} {', '.join(map(str, self._devices))})",
            f"a step: {self._batch_size} sequences of {self._sequence_length} tokens, "
            f"{self._batch_size * self._sequence_length:,} in all, in {self._parts} part{'s' if self._parts > 1 else ''}"
            + (", with gradient checkpointing" if self._gradient_checkpointing else ""),
        ]
        if isinstance(found, TrainingText):
            licence = f", {found.licence}" if found.licence else ""
            lines.append(f"text {found.name}: {found.n_files:,} files, {found.n_bytes / 1e6:,.1f} MB{licence}; it becomes a data set")
            own = self._tokenizer or self._model.tokenizer
            lines.append(f"tokenizer: {own}" if own else f"tokenizer: learnt from the text, {self._vocabulary():,} tokens")
        else:
            lines.append(f"data set: {found.folder}")
        return "\n".join([*lines, f"output: {output}"])

    def _vocabulary(self) -> int:
        size = self._model.config.get("vocab_size", 8192)
        return size if isinstance(size, int) else 8192

    def _data(self, found: TrainingText | TrainingSet, output: pathlib.Path) -> tuple[pathlib.Path, str]:
        """The folder of the data set, and the tokenizer that it has, as far as that is known."""
        own = self._tokenizer or self._model.tokenizer
        if isinstance(found, TrainingSet):
            return found.folder, own
        if not own:
            own = str(output / "tokenizer")
            tokenizer.train(found.files(), vocabulary=self._vocabulary(), out=own, force=True)
        _training_data.build(found, output / "data", own)
        return output / "data", own

    def _steps(self, shards: data.DataSet, epochs: float, steps: int | None) -> int:
        tokens = self._batch_size * self._sequence_length
        vocabulary = self._model.config.get("vocab_size")
        if isinstance(vocabulary, int) and shards.vocabulary_size > vocabulary:
            raise Error(
                f"expected data of at most the model's {vocabulary} tokens, found {shards.vocabulary_size}",
                "dataset",
                "data must be of the model's tokenizer",
            )
        if steps is not None:
            return _from_one("steps", steps)
        if shards.n_tokens * epochs < tokens:
            raise Error(
                f"{epochs:g} epochs are {int(shards.n_tokens * epochs):,} tokens, and a step takes {tokens:,}",
                "batch_size",
                "a smaller batch, shorter sequences, more epochs, or more data",
            )
        return int(shards.n_tokens * epochs // tokens)

    def _recipe_of(self, folder: pathlib.Path, words: str, output: pathlib.Path, steps: int) -> dict[str, Any]:
        made: dict[str, Any] = {
            "products": self._products,
            "threads": self._threads or None,
            _CHECKPOINTING_KEY: self._gradient_checkpointing or None,
            "model": {**self._model.recipe(self._seed), "tokenizer": words if _is_tokenizer_folder(words) else None},
            "data": {
                "folder": str(folder),
                "sequence_tokens": self._sequence_length,
                "sequences": self._batch_size,
                "accumulate": self._parts,
                "seed": self._seed,
            },
            "loss": {"bias_rate": 0.01 if self._model.has_correction_bias else None},
            "optimizer": {"learning_rate": self._learning_rate},
            "schedule": {
                "steps": steps,
                "warmup_steps": min(100, steps // 10) if self._warmup_steps is None else self._warmup_steps,
            },
            "output": {"folder": str(output / "run"), "gguf": self._gguf},
        }
        for key, value in self._recipe.items():
            made[key] = {**made.get(key, {}), **value} if isinstance(value, Mapping) else value
        return made


@dataclass(frozen=True)
class _Model:
    """What training begins with. `config` is that of config.json, empty for a GGUF file."""

    name: str
    place: str
    config: dict[str, Any]
    is_checkpoint: bool
    tokenizer: str

    @classmethod
    def find(cls, model: Path) -> _Model:
        path = pathlib.Path(model)
        packaged = pathlib.Path(str(resources.files("moebox"))) / "recipes"
        own = packaged / str(model) / "config.json"
        if not path.exists() and own.is_file():
            return cls(str(model), str(own), _read_config(own), False, "")
        path = path.resolve()
        if path.is_dir() and (path / "config.json").is_file():
            weights = any(path.glob("*.safetensors"))
            words = str(path) if (path / "tokenizer.json").is_file() else ""
            place = path if weights else path / "config.json"
            return cls(path.name, str(place), _read_config(path / "config.json"), weights, words)
        if path.is_file() and path.suffix == ".gguf":
            return cls(path.stem, str(path), {}, True, str(path))
        if path.is_file():
            return cls(path.parent.name if path.name == "config.json" else path.stem, str(path), _read_config(path), False, "")
        names = sorted(place.parent.name for place in packaged.glob("*/config.json"))
        raise Error(
            f"expected a config.json, a Hugging Face folder, a GGUF file, or one of {', '.join(names)}; found '{model}'",
            "model",
            "",
            "not_found",
        )

    @property
    def has_correction_bias(self) -> bool:
        return self.config.get("model_type") == "deepseek_v3" and bool(self.config.get("n_routed_experts"))

    def recipe(self, seed: int) -> dict[str, object]:
        return {"checkpoint": self.place} if self.is_checkpoint else {"config": self.place, "seed": seed}


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise Error(f"expected a config.json: {problem}", str(path), "", "invalid_file") from None
    if not isinstance(config, dict):
        raise Error("expected a JSON object", str(path), "", "invalid_file")
    return config


def _is_tokenizer_folder(words: str) -> bool:
    return bool(words) and os.path.isfile(os.path.join(words, "tokenizer.json"))


def _from_one(name: str, value: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Error(f"expected a whole number from {least}, found {value!r}", name)
    return value


def _device_numbers(devices: Sequence[int]) -> tuple[int, ...]:
    numbers = tuple(devices)
    fit = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in numbers)
    if not numbers or not fit or len(set(numbers)) != len(numbers):
        raise Error(f"expected different whole numbers such as [0, 1], found {list(numbers)!r}", "devices")
    return numbers


def _device_arguments(devices: Sequence[int]) -> list[str]:
    """Of one device nothing is said: it is this process's own."""
    return ["--devices", ",".join(map(str, devices))] if len(devices) > 1 else []
