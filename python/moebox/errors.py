"""The one exception type of moebox."""


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

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text
