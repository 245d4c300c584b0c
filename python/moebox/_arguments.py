"""Python's values as the settings of moebox spell them."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from moebox.errors import Error

#: An OpenAI message: `{"role": "user", "content": "..."}`, and whatever else the model's template knows.
Message: TypeAlias = Mapping[str, Any]
#: A file or a folder.
Path: TypeAlias = str | os.PathLike[str]


def settings(values: Mapping[str, object]) -> dict[str, str]:
    """What was given (what is None was not) by the names of `moebox config`."""
    return {key: _text(value) for key, value in values.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def utf8(text: str | bytes) -> bytes:
    """Lone surrogates become bytes that are no UTF-8, which the tokenizer reads as U+FFFD."""
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else bytes(text)


def as_json(value: object, where: str) -> str:
    """As the native module takes lists and dicts. Raises `Error` for what JSON cannot say."""
    try:
        return json.dumps(value, allow_nan=False, default=_listed)
    except (TypeError, ValueError, RecursionError) as problem:
        raise Error(f"expected what JSON can say: {problem}", where) from None


def _listed(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not")


def token_ids(ids: Iterable[int]) -> list[int]:
    """Ids of a list or an array. What no vocabulary can have becomes -1."""
    return [number if 0 <= number < 2**31 else -1 for number in map(int, ids)]


def strings(values: str | Sequence[str] | None) -> list[str]:
    """A text, several, or none."""
    if values is None:
        return []
    return [values] if isinstance(values, str) else [str(value) for value in values]


def path_list(values: Path | Sequence[Path]) -> list[str]:
    """A path, or several."""
    if isinstance(values, (str, os.PathLike)):
        return [os.fspath(values)]
    return [os.fspath(value) for value in values]
