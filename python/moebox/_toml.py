"""Recipes as TOML."""

import json
import os
from collections.abc import Mapping, Sequence

from moebox.errors import Error


def toml_text(recipe: Mapping[str, object]) -> str:
    """A table of values, tables and lists of tables. Keys without a value (None) are left out."""
    lines = [f"{_key(key)} = {_value(key, value)}" for key, value in recipe.items() if _is_plain(value)]
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{_key(key)}]", *_entries(value)]
        elif _is_tables(value):
            assert isinstance(value, Sequence)
            for table in value:
                lines += ["", f"[[{_key(key)}]]", *_entries(table)]
    return "\n".join(lines) + "\n"


def _is_tables(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(one, Mapping) for one in value)


def _is_plain(value: object) -> bool:
    return value is not None and not isinstance(value, Mapping) and not _is_tables(value)


def _entries(table: Mapping[str, object]) -> list[str]:
    return [f"{_key(key)} = {_value(key, value)}" for key, value in table.items() if value is not None]


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(key: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        return json.dumps(os.fspath(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(key, one) for one in value) + "]"
    raise Error(f"expected a text, a number, true, false or a list, found {type(value).__name__}", key)
