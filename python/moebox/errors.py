"""The one exception type of moebox."""

from __future__ import annotations

import re

#: The engine's names for what a caller sets, as a caller knows them.
_PLACES = {"context_tokens": "context", "kv_bytes": "kv_memory", "max_new_tokens": "max_tokens"}


class Error(Exception):
    """What was expected and found, where, and what to do about it.

    Attributes:
        message: what was expected, and what was found.
        where: the file, option, field or line that it is about; may be empty.
        hint: what to do; may be empty.
        kind: "invalid_argument", "invalid_file", "unsupported", "not_found", "io", "network", "resource", "cancelled"
            or "internal" (a bug in moebox).
    """

    def __init__(self, message: str, where: str = "", hint: str = "", kind: str = "invalid_argument") -> None:
        super().__init__(message, where, hint, kind)
        self.message = message
        self.where = where
        self.hint = hint
        self.kind = kind

    @classmethod
    def _of_native(cls, message: str, where: str, hint: str, kind: str) -> Error:
        """What the libraries say to the command's users, for those of Python: `--kv-memory` is the argument `kv_memory`."""
        return cls(message, _as_arguments(_PLACES.get(where, where)), _as_arguments(hint), kind)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text


def _as_arguments(text: str) -> str:
    return re.sub(r"(?<![\w-])--([a-z][a-z-]*)", lambda option: option[1].replace("-", "_"), text)
