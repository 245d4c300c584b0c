"""Data sets for training, built and read (docs/data.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy
from numpy.typing import NDArray

from moebox import _native
from moebox._arguments import Path, path_list
from moebox._toml import toml_text
from moebox.errors import Error


@dataclass(frozen=True)
class BuildReport:
    """What a build has made.

    Attributes:
        path: the folder.
        tokenizer: the tokenizer's digest.
        domains: by a domain's name, what was read, kept and dropped, and why.
        shards: number of files with tokens.
    """

    path: str
    tokenizer: str
    domains: dict[str, Any]
    shards: int


def build(
    inputs: Path | Sequence[Path] | None = None,
    *,
    out: Path | None = None,
    tokenizer: Path | None = None,
    domain: str = "text",
    end_token: str | None = None,
    held_out: float | None = None,
    sources: Sequence[Mapping[str, Any]] | None = None,
    filters: Mapping[str, Any] | None = None,
    shard_tokens: int | None = None,
    max_document: str | None = None,
    max_line: str | None = None,
    force: bool = False,
    threads: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> BuildReport:
    """Turns text into shards of tokens, as `moebox data build` does.

    Args:
        inputs: one recipe (.toml), or files and folders (of code).
        out: folder to write, instead of the recipe's.
        tokenizer: model's name, file or folder, instead of the recipe's.
        domain: name of the domain of inputs that are no recipe.
        end_token: token behind every document; "none": no token.
        held_out: share of the documents that is only measured, 0 to 0.5.
        sources: instead of inputs: the recipe's [[source]] tables, such as
            `[{"path": "chats.jsonl", "messages": "messages", "domain": "chat", "weight": 1}]`.
        filters: the recipe's [filters], such as `{"quality": True, "near_duplicates": 0.8}`.
        shard_tokens, max_document, max_line: as in the recipe: `max_document="8MiB"`.
        force: replace the data at `out`.
        threads: 0: all processors.
        progress: called now and then with bytes read and bytes of all files.

    Raises:
        Error: a key that is not known, an input that is not there, nothing that is left. Then nothing of the build
            remains, and earlier data are as they were.
    """
    own = {"shard_tokens": shard_tokens, "max_document": max_document, "max_line": max_line}
    own = {key: value for key, value in own.items() if value is not None}
    paths = path_list(inputs) if inputs is not None else []
    if (not paths) == (sources is None):
        raise Error("expected inputs or sources", "inputs", "sources are tables of a recipe, inputs files and folders")
    recipe = ""
    if sources is not None or filters or own:
        if len(paths) == 1 and paths[0].endswith(".toml"):
            raise Error("expected files and folders beside filters, found a recipe", paths[0], "write them in the recipe")
        tables = [dict(source) for source in sources or []] or [_source(path, domain) for path in paths]
        recipe = toml_text({**own, "filters": dict(filters or {}), "source": tables})
    report = _native.build_data(
        recipe,
        os.path.join(os.getcwd(), "sources"),
        [] if recipe else paths,
        "" if tokenizer is None else str(tokenizer),
        "" if out is None else str(out),
        domain,
        end_token or "",
        -1.0 if held_out is None else held_out,
        force,
        threads,
        progress,
    )
    made = json.loads(report)
    return BuildReport(made["path"], made["tokenizer"], made["domains"], made["shards"])


def _source(path: str, domain: str) -> dict[str, Any]:
    source: dict[str, Any] = {"path": path, "domain": domain}
    if os.path.isdir(path):
        source["format"] = "code"
    return source


@dataclass(frozen=True)
class Domain:
    """Documents of one kind. `weight` is their share of the mix; None: by size. `level` is "general", "domain" or
    "synthetic"."""

    name: str
    level: str
    weight: float | None
    n_documents: int
    n_tokens: int


@dataclass(frozen=True)
class Batch:
    """Packed rows. All arrays are (rows, row_tokens).

    Attributes:
        tokens: int32, what goes in; 0 where there is padding.
        targets: int32, what follows it in its document.
        mask: uint8, 1 where the target is to be learnt.
        documents: int32, the number of the document's piece within its row, from 0; -1: padding.
        positions: int32, the place within that piece, from 0.
        n_learnt: targets with mask 1 in the whole batch, all ranks together.
    """

    tokens: NDArray[numpy.int32]
    targets: NDArray[numpy.int32]
    mask: NDArray[numpy.uint8]
    documents: NDArray[numpy.int32]
    positions: NDArray[numpy.int32]
    n_learnt: int


class Batches(Iterator[Batch]):
    """The trainer's stream of batches. `save()` and `restore()` go on exactly."""

    def __init__(self, native: _native.Batches, rank: int, world: int) -> None:
        self._native = native
        self._rank = rank
        self._world = world

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        arrays = self._native.next(self._rank, self._world)
        if arrays is None:
            raise StopIteration
        return Batch(*arrays)

    def skip(self, batches: int) -> None:
        """Leaves out the next batches."""
        self._native.skip(batches)

    def save(self) -> str:
        """Everything that the next batches depend on, as JSON of a few hundred bytes; the same on every rank."""
        return self._native.save()

    def restore(self, state: str) -> None:
        """Goes on where `save()` was called. Raises `Error` when data or options are others than then."""
        self._native.restore(state)


class DataSet(Sequence[NDArray[numpy.int32]]):
    """A folder that `build` made: a sequence of documents, each an int32 array of its tokens' ids.

    The shards are mapped, not loaded; a document is a copy.

    Args:
        folder: the data set.
        split: "train" or "held_out".
        tokenizer: a model's name, file or folder: data of another tokenizer are refused.
        threads: that check the shards; 0: all processors.

    Raises:
        Error: a shard that is damaged, cut or foreign, by its name.
    """

    def __init__(
        self,
        folder: Path,
        *,
        split: Literal["train", "held_out"] = "train",
        tokenizer: Path | None = None,
        threads: int = 0,
    ) -> None:
        self._native = _native.open_dataset(str(folder), split, "" if tokenizer is None else str(tokenizer), threads)

    def __len__(self) -> int:
        return self._native.n_documents()

    @overload
    def __getitem__(self, index: int) -> NDArray[numpy.int32]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[NDArray[numpy.int32]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[numpy.int32] | Sequence[NDArray[numpy.int32]]:
        if isinstance(index, slice):
            return [self._native.tokens(i) for i in range(*index.indices(len(self)))]
        return self._native.tokens(index + len(self) if index < 0 else index)

    def mask(self, index: int) -> NDArray[numpy.uint8]:
        """1 where a token of the document is to be learnt."""
        return self._native.mask(index + len(self) if index < 0 else index)

    @property
    def n_tokens(self) -> int:
        """Of all documents."""
        return self._native.n_tokens()

    @property
    def vocabulary_size(self) -> int:
        """Every id is below it."""
        return self._native.vocabulary_size()

    @property
    def tokenizer(self) -> str:
        """The digest of the tokenizer (`Tokenizer.digest`)."""
        return self._native.tokenizer()

    @property
    def digest(self) -> str:
        """Recognises the content."""
        return self._native.digest()

    @property
    def domains(self) -> list[Domain]:
        """What documents there are."""
        return [Domain(*fields) for fields in self._native.domains()]

    def batches(
        self,
        rows: int,
        row_tokens: int,
        *,
        seed: int = 0,
        repeat: bool = True,
        shuffle: bool = True,
        weights: Mapping[str, float] | None = None,
        level_shares: tuple[float, float, float] = (0.0, 0.0, 0.0),
        rank: int = 0,
        world: int = 1,
    ) -> Batches:
        """Batches of packed rows, as the trainer takes them.

        Args:
            rows: of a batch, all ranks together.
            row_tokens: tokens of a row.
            seed: the order.
            repeat: False: every document once.
            shuffle: False: in the order of the shards.
            weights: shares of the mix by a domain's name, instead of the data set's own.
            level_shares: shares of the levels general, domain, synthetic.
            rank, world: this rank's rows of each batch; `world` divides `rows`.

        Raises:
            Error: options that do not fit the data, by name.
        """
        native = _native.make_batches(self._native, rows, row_tokens, seed, repeat, shuffle, dict(weights or {}), level_shares)
        return Batches(native, rank, world)
