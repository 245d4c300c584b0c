"""Text to token ids and back, and tokenizers of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from moebox import _native
from moebox._arguments import Message, Path, as_json, path_list, token_ids, utf8


class Tokenizer:
    """A model's tokenizer. Immutable; several threads may use one at a time.

    Args:
        source: a model's name, a GGUF file, a Hugging Face folder, a folder with tokenizer.json, or that file.

    Raises:
        Error: there is no such file, or it does not hold together.
    """

    def __init__(self, source: Path) -> None:
        self._native = _native.load_tokenizer(str(source))

    @classmethod
    def _of(cls, native: _native.Tokenizer) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._native = native
        return tokenizer

    def encode(self, text: str | bytes, *, add_special: bool = False, special: bool = False) -> list[int]:
        """The ids of a text.

        Args:
            text: what is no UTF-8 in it counts as U+FFFD.
            add_special: with what the tokenizer adds by itself (a token for the beginning, say).
            special: special tokens that are written in the text become those tokens. Never for text of others.
        """
        return self._native.encode(utf8(text), add_special, special)

    def decode(self, ids: Iterable[int], *, show_control: bool = False) -> str:
        """The text of ids; an incomplete character gives U+FFFD, an id outside the vocabulary nothing.

        Args:
            show_control: with control tokens, by their names.
        """
        return self._native.decode(token_ids(ids), show_control).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int], *, show_control: bool = False) -> bytes:
        """The bytes that the ids stand for, which need not be whole characters."""
        return self._native.token_bytes(token_ids(ids), show_control)

    def count(self, text: str | bytes) -> int:
        """How many tokens a text takes."""
        return len(self.encode(text))

    def apply_chat_template(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        template_variables: Mapping[str, Any] | None = None,
    ) -> str:
        """A conversation as the model's template writes it.

        The text does not say which part of it the template wrote: ids for the model come from `encode_chat`.

        Raises:
            Error: the files have no template, or it refuses the messages.
        """
        options = _template_options(add_generation_prompt, tools, documents, template_variables)
        return self._native.apply_template(as_json(list(messages), "messages"), options)

    def encode_chat(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        template_variables: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """The ids of a conversation. Control tokens are made from what the template wrote, never from a message.

        Raises:
            Error: the files have no template, or it refuses the messages.
        """
        options = _template_options(add_generation_prompt, tools, documents, template_variables)
        return self._native.chat_ids(as_json(list(messages), "messages"), options)

    def token_text(self, token: int) -> str:
        """A token as its file spells it; empty for an id outside the vocabulary."""
        return self._native.token_text(token_ids([token])[0])

    def find(self, token: str) -> int | None:
        """The id of a token by that spelling, control tokens included."""
        return self._native.find(utf8(token).decode("utf-8", "replace"))

    @property
    def vocab_size(self) -> int:
        """Ids are below it."""
        return self._native.vocab_size()

    @property
    def special_ids(self) -> dict[str, int]:
        """Those that there are of bos, eos, unknown, padding, fim_prefix, fim_suffix, fim_middle."""
        return self._native.special()

    @property
    def end_ids(self) -> list[int]:
        """Any of them ends an answer."""
        return self._native.end_of_generation()

    @property
    def has_chat_template(self) -> bool:
        """Whether its files have one."""
        return self._native.has_chat_template()

    @property
    def digest(self) -> str:
        """By what data sets know it: 64 hexadecimal digits, of what every id means."""
        return self._native.digest()

    def __len__(self) -> int:
        return self.vocab_size


def train(
    inputs: Path | Sequence[Path],
    *,
    vocabulary: int,
    out: Path,
    end_token: str = "<|endoftext|>",
    special: Sequence[str] = (),
    chat_template: Path | None = None,
    pre_tokenizer: str = "qwen2",
    min_frequency: int = 0,
    by_line: bool = False,
    force: bool = False,
    threads: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Tokenizer:
    """Learns a byte-level BPE from texts, as `moebox tokenizer train` does (docs/data.md), and gives it.

    Args:
        inputs: files and folders (of code), or one recipe for data (.toml).
        vocabulary: tokens in all, bytes and special tokens included; from 257.
        out: folder that gets tokenizer.json and tokenizer_config.json.
        end_token: the special token that ends a text.
        special: further special tokens.
        chat_template: a Jinja file that goes with the tokenizer: how a conversation is written.
        pre_tokenizer: what cuts texts into words: one of `pre_tokenizers()`.
        min_frequency: rarer pairs are not merged.
        by_line: look at each line by itself, as Hugging Face's `train(files)` does.
        force: replace a tokenizer at `out`.
        threads: 0: all processors.
        progress: called now and then with bytes read and bytes of all files.

    Raises:
        Error: an input that is not there, a tokenizer at `out`, a pre-tokenizer that is not known.
    """
    _native.train_tokenizer(
        path_list(inputs),
        str(out),
        vocabulary,
        end_token,
        list(special),
        "" if chat_template is None else str(chat_template),
        pre_tokenizer,
        min_frequency,
        by_line,
        force,
        threads,
        progress,
    )
    return Tokenizer(out)


def pre_tokenizers() -> list[str]:
    """The names that `train` knows: "gpt-2", "qwen2", "llama-bpe", "deepseek-v3" ..."""
    return _native.pre_tokenizers()


def _template_options(
    add_generation_prompt: bool,
    tools: Sequence[Mapping[str, Any]] | None,
    documents: Sequence[Mapping[str, Any]] | None,
    template_variables: Mapping[str, Any] | None,
) -> str:
    options = {"tools": tools, "documents": documents, "variables": template_variables}
    given = {key: value for key, value in options.items() if value is not None}
    return as_json({"add_generation_prompt": add_generation_prompt, **given}, "template_variables")
