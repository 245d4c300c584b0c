"""A model that answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeAlias, cast, overload

from moebox import _native
from moebox._arguments import Message, Path, as_json, settings, strings, token_ids, utf8
from moebox.errors import Error
from moebox.tokenizer import Tokenizer

#: A question, a conversation, or token ids.
Prompt: TypeAlias = str | bytes | Sequence[Message] | Sequence[int]


@dataclass(frozen=True)
class Answer:
    """One answer, and what it took.

    Attributes:
        text: the answer.
        reasoning: the thinking before it, of a model whose template tells thinking from answers; otherwise empty.
        token_ids: every token that was generated, thinking included, the one that ended the answer not.
        finish_reason: "stop" (the model's end, or a stop string), "length", or "cancelled".
        matched_stop: the stop string that ended it, or "".
        prompt_tokens, cached_tokens: tokens of the prompt, and how many of them were found in the cache.
        generated_tokens, drafted_tokens, accepted_tokens: tokens of the answer; drafts that were verified; drafts that
            became part of it.
        first_token_ms, prefill_ms, decode_ms: from the call to the first token; the prompt; from the first token to the
            last. Milliseconds.
        experts_per_token, active_parameters, dropped_mass: of a model with experts: how many a token took on average,
            the share of all parameters that it used, and the share of the gates' mass that a budget dropped.
    """

    text: str
    reasoning: str
    token_ids: list[int]
    finish_reason: str
    matched_stop: str
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    first_token_ms: float
    prefill_ms: float
    decode_ms: float
    experts_per_token: float | None = None
    active_parameters: float | None = None
    dropped_mass: float | None = None

    def __str__(self) -> str:
        return self.text


class Piece(str):
    """Some characters of an answer. `reasoning` says whether they are of the thinking before it."""

    reasoning: bool

    def __new__(cls, text: str, reasoning: bool = False) -> Piece:
        piece = super().__new__(cls, text)
        piece.reasoning = reasoning
        return piece


class Stream(Iterator[Piece]):
    """An answer as it comes: an iterator of pieces, whole characters all of them.

    Who stops early calls `close()`, or drops the stream: the model then stops at the next token. `answer` is there
    once the iteration has ended.
    """

    def __init__(self, native: _native.Stream) -> None:
        self._native = native
        self._waiting: list[Piece] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Piece:
        if not self._waiting:
            reasoning, text = self._native.next()
            if reasoning:
                self._reasoning.append(reasoning)
                self._waiting.append(Piece(reasoning, True))
            if text:
                self._text.append(text)
                self._waiting.append(Piece(text))
        if not self._waiting:
            raise StopIteration
        return self._waiting.pop(0)

    def close(self) -> None:
        """Ends the answer at the next token. The iteration goes on with what is there already."""
        self._native.cancel()

    @property
    def answer(self) -> Answer:
        """What was answered.

        Raises:
            Error: the answer has not ended yet.
        """
        result = self._native.result()
        if result is None:
            raise Error("the answer has not ended yet", "answer", "take all pieces first")
        return Answer(text="".join(self._text), reasoning="".join(self._reasoning), token_ids=self._native.ids(), **result)


class Engine:
    """A model, loaded.

    Settings that are not given here are those of the command: `~/.config/moebox/config.toml`, the environment
    (MOEBOX_THREADS ...), and what `moebox optimize` found for this model. docs/configuration.md explains each.

    Several threads may ask one engine at a time; their answers are computed together, and each has the numbers that it
    would have alone. An engine belongs to the process that made it.

    Args:
        model: a name of the catalogue (it is fetched where it is not here), a GGUF file, a Hugging Face folder, or
            "hf:owner/repo/file.gguf".
        threads: threads that compute; 0: all processors that may be used.
        context: the longest sequence, prompt and answer, in tokens; 0: the model's own, at most 32768.
        kv_type: type of the cache of keys and values: "f16", "bf16", "q8_0" or "f32".
        kv_memory: memory of that cache in bytes, or a text such as "2 GiB".
        prefix_cache: what the cache still holds of a prompt's beginning is not computed again.
        speculation: drafts of the next tokens: "off", "ngram", "mtp" or "draft" (by `draft_model`).
        draft_model: a second, smaller model with the same vocabulary.
        draft_tokens: longest draft.
        pack_file: "auto", "write" or "off": packed weights kept beside the model.
        expert_cache: memory for routed experts in bytes, or a text; the others are read as they are needed.
        chat_template: a Jinja template instead of the model's own.

    Raises:
        Error: there is no such model, its file is damaged or not supported, or it does not fit.
    """

    def __init__(
        self,
        model: Path = "",
        *,
        threads: int | None = None,
        context: int | None = None,
        kv_type: Literal["f16", "bf16", "q8_0", "f32"] | None = None,
        kv_memory: int | str | None = None,
        prefix_cache: bool | None = None,
        speculation: Literal["off", "ngram", "mtp", "draft"] | None = None,
        draft_model: Path | None = None,
        draft_tokens: int | None = None,
        pack_file: Literal["auto", "write", "off"] | None = None,
        expert_cache: int | str | None = None,
        chat_template: str | None = None,
    ) -> None:
        values = settings(
            {
                "threads": threads,
                "context": context,
                "kv_type": kv_type,
                "kv_memory": kv_memory,
                "prefix_cache": prefix_cache,
                "speculation": speculation,
                "draft_model": draft_model,
                "draft_tokens": draft_tokens,
                "pack_file": pack_file,
                "expert_cache": expert_cache,
            }
        )
        self._native = _native.Engine(str(model), values, chat_template or "")

    @overload
    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        min_p: float | None = ...,
        typical_p: float | None = ...,
        repetition_penalty: float | None = ...,
        frequency_penalty: float | None = ...,
        presence_penalty: float | None = ...,
        moe_top_p: float | None = ...,
        moe_threshold: float | None = ...,
        moe_min_experts: int | None = ...,
        moe_max_experts: int | None = ...,
        seed: int | None = ...,
        stop: str | Sequence[str] | None = ...,
        system: str | None = ...,
        raw: bool = ...,
        special: bool = ...,
        ignore_end: bool = ...,
        tools: Sequence[Mapping[str, Any]] | None = ...,
        template_variables: Mapping[str, Any] | None = ...,
        stream: Literal[False] = ...,
    ) -> Answer: ...

    @overload
    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = ...,
        temperature: float | None = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        min_p: float | None = ...,
        typical_p: float | None = ...,
        repetition_penalty: float | None = ...,
        frequency_penalty: float | None = ...,
        presence_penalty: float | None = ...,
        moe_top_p: float | None = ...,
        moe_threshold: float | None = ...,
        moe_min_experts: int | None = ...,
        moe_max_experts: int | None = ...,
        seed: int | None = ...,
        stop: str | Sequence[str] | None = ...,
        system: str | None = ...,
        raw: bool = ...,
        special: bool = ...,
        ignore_end: bool = ...,
        tools: Sequence[Mapping[str, Any]] | None = ...,
        template_variables: Mapping[str, Any] | None = ...,
        stream: Literal[True],
    ) -> Stream: ...

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        repetition_penalty: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        moe_top_p: float | None = None,
        moe_threshold: float | None = None,
        moe_min_experts: int | None = None,
        moe_max_experts: int | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] | None = None,
        system: str | None = None,
        raw: bool = False,
        special: bool = False,
        ignore_end: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        stream: bool = False,
    ) -> Answer | Stream:
        """Answers.

        The other threads of the program run meanwhile; Ctrl-C ends the answer with KeyboardInterrupt. The same prompt,
        settings and seed give the same tokens as `moebox run` does.

        Args:
            prompt: a question; a conversation (messages as OpenAI's API has them); or token ids, which are taken as
                they are.
            max_tokens: longest answer; 0: what the context leaves.
            temperature: how freely the next token is chosen; 0: always the likeliest.
            top_k, top_p, min_p, typical_p: leave unlikely tokens out; 0, 1, 0 and 1 leave none out.
            repetition_penalty, frequency_penalty, presence_penalty: discourage tokens that were there; 1, 0 and 0: not.
            moe_top_p, moe_threshold, moe_min_experts, moe_max_experts: the budget on a token's experts
                (docs/routing.md).
            seed: the same seed gives the same answer; None: another one every time.
            stop: texts that end the answer and are not part of it.
            system: the system message before a question.
            raw: no chat template: the model goes on with the text as it is.
            special: with `raw`: special tokens that are written in the text count.
            ignore_end: go on past the token with which the model ends its answer.
            tools, template_variables: for the chat template, as OpenAI's API has them.
            stream: give a `Stream` at once, instead of the whole answer.

        Raises:
            Error: a value out of range, a prompt that is longer than the context, a template that refuses the messages.
        """
        ids, chat = self._ids(prompt, system, raw, special, tools, template_variables)
        values = settings(
            {
                "max_tokens": max_tokens,
                "temperature": temperature,
                "top_k": top_k,
                "top_p": top_p,
                "min_p": min_p,
                "typical_p": typical_p,
                "repetition_penalty": repetition_penalty,
                "frequency_penalty": frequency_penalty,
                "presence_penalty": presence_penalty,
                "moe_top_p": moe_top_p,
                "moe_threshold": moe_threshold,
                "moe_min_experts": moe_min_experts,
                "moe_max_experts": moe_max_experts,
                "seed": seed,
            }
        )
        answer = Stream(self._native.stream(ids, chat, values, strings(stop), ignore_end))
        if stream:
            return answer
        for _ in answer:
            pass
        return answer.answer

    def chat(self, *, system: str | None = None, **options: Any) -> Chat:
        """A conversation that remembers; `options` are those of `generate`, for every answer."""
        return Chat(self, system, options)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own. Raises `Error` where its files have none."""
        return Tokenizer._of(self._native.tokenizer())

    @property
    def info(self) -> dict[str, Any]:
        """What the model is and takes.

        path, architecture, n_parameters, vocab_size, n_layers, hidden_size, n_experts and top_k (of a layer with
        routed experts; 0: dense), max_context (tokens, as trained), context (tokens, of this engine), threads,
        weight_bytes, kv_bytes, has_chat_template.
        """
        return self._native.info()

    def close(self) -> None:
        """Gives the model's memory back, once the answers that are being computed have ended."""
        self._native.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ids(
        self,
        prompt: Prompt,
        system: str | None,
        raw: bool,
        special: bool,
        tools: Sequence[Mapping[str, Any]] | None,
        template_variables: Mapping[str, Any] | None,
    ) -> tuple[list[int], bool]:
        """The prompt's ids, and whether they are a conversation's."""
        if isinstance(prompt, (str, bytes)):
            if raw:
                return self._native.text_ids(utf8(prompt), special), False
            prompt = [{"role": "user", "content": utf8(prompt).decode("utf-8", "replace")}]
        items = list(prompt)
        if items and all(hasattr(item, "__index__") for item in items):
            return token_ids(cast(list[int], items)), False
        messages = [dict(item) for item in items if isinstance(item, Mapping)]
        if len(messages) != len(items) or not items:
            raise Error("expected a text, a list of messages, or a list of token ids", "prompt")
        if raw:
            raise Error("expected a text, found messages: raw goes without a template", "raw")
        if system:
            messages.insert(0, {"role": "system", "content": system})
        if not self._native.info()["has_chat_template"]:
            raise Error("the model has no chat template", "prompt", "raw=True goes on with a text", "unsupported")
        options = {"tools": tools, "variables": template_variables}
        given = {key: value for key, value in options.items() if value is not None}
        return self._native.chat_ids(as_json(messages, "messages"), as_json(given, "template_variables")), True


class Chat:
    """A conversation: `messages` are the turns so far."""

    def __init__(self, engine: Engine, system: str | None, options: Mapping[str, Any]) -> None:
        self._engine = engine
        self._options = dict(options)
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []

    def send(self, question: str) -> Answer:
        """Asks, and remembers question and answer. After an error, or Ctrl-C, the conversation is as it was."""
        messages = [*self.messages, {"role": "user", "content": question}]
        answer: Answer = self._engine.generate(messages, **self._options)
        self.messages = [*messages, {"role": "assistant", "content": answer.text}]
        return answer
