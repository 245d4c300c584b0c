"""What a trainer is given to learn from: a data set that was built, text that is to be built, or the name of some."""

from __future__ import annotations

import os
import pathlib
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from moebox import data
from moebox.errors import Error

_TEXT_ENDINGS = (".txt", ".md", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class TrainingText:
    """Files of text before they are tokens: the tables [[source]] of a data recipe."""

    name: str
    sources: list[dict[str, Any]]
    n_files: int
    n_bytes: int
    licence: str = ""

    def files(self) -> list[str]:
        """All of them, for a tokenizer to be learnt from."""
        return [path for source in self.sources for path in source["path"]]


@dataclass(frozen=True)
class TrainingSet:
    """A data set that is there."""

    name: str
    folder: pathlib.Path


def find(dataset: str | os.PathLike[str]) -> TrainingText | TrainingSet:
    """What `dataset` means: the folder of a data set; a file or a folder of text or code; or a name.

    Raises:
        Error: there is no such file, nor a data set of this name.
    """
    path = pathlib.Path(dataset)
    if (path / "dataset.json").is_file():
        return TrainingSet(path.resolve().name, path.resolve())
    if path.exists():
        return _text(path.resolve())
    if named := _NAMED.get(str(dataset)):
        return named()
    raise Error(
        f"expected a data set's folder, a file or folder of text, or one of {', '.join(_NAMED)}; found '{dataset}'",
        "dataset",
        "moebox.data.build makes a data set",
        "not_found",
    )


def _text(path: pathlib.Path) -> TrainingText:
    if path.is_file():
        return _counted(path.name, [path], "text")
    texts = sorted(file for file in path.rglob("*") if file.suffix in _TEXT_ENDINGS and file.is_file())
    # A folder of a program has a few texts beside its code, a folder of texts has no code.
    code = _code_files(path)
    if code and len(code) >= len(texts):
        return _counted(path.name, code, "code")
    if not texts:
        raise Error(f"expected text ({', '.join(_TEXT_ENDINGS)}) or code, found none", str(path), "", "not_found")
    return _counted(path.name, texts, "text")


def _code_files(folder: pathlib.Path, left_out: Sequence[str] = ("node_modules", "vendor", "__pycache__")) -> list[pathlib.Path]:
    endings = (".py", ".c", ".h", ".cpp", ".hpp", ".cc", ".rs", ".go", ".java", ".js", ".ts", ".sh")
    files = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in left_out and not name.startswith("."))
        files += [pathlib.Path(place, name) for name in sorted(names) if name.endswith(endings)]
    return [file for file in files if not file.is_symlink()]


def _counted(name: str, files: Sequence[pathlib.Path], kind: str, licence: str = "") -> TrainingText:
    sources: list[dict[str, Any]] = []
    for lines in (False, True):
        paths = [str(file) for file in files if (file.suffix in (".jsonl", ".ndjson")) == lines]
        if paths:
            sources.append({"path": paths, "domain": kind, "format": "jsonl" if lines else kind})
    return TrainingText(name, sources, len(files), sum(file.stat().st_size for file in files), licence)


def _code_completion() -> TrainingText:
    """Python's own library as it is installed, without its tests, its programs, and what others have put there."""
    folder = pathlib.Path(sysconfig.get_path("stdlib"))
    left_out = ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "lib-dynload", "__pycache__")
    files = [file for file in _code_files(folder, left_out) if file.suffix == ".py"]
    if not files:
        raise Error("expected the source of Python's standard library, found none", str(folder), "name a folder of code", "not_found")
    return _counted("code_completion", files, "code", "PSF-2.0")


_NAMED: dict[str, Callable[[], TrainingText]] = {"code_completion": _code_completion}


def build(text: TrainingText, folder: pathlib.Path, tokenizer: str) -> None:
    """Makes the data set `folder`; an earlier one there is replaced."""
    data.build(sources=text.sources, out=folder, tokenizer=tokenizer, force=True)
