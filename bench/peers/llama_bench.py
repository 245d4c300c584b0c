#!/usr/bin/env python3
"""One round of llama.cpp's speeds, as JSON on stdout: what `moebox bench MODEL --threads T --repeat 1 --json` measures of moebox.

No sampling: the tokens are arbitrary and known beforehand, so the peer pays for its forward alone.
"""
import argparse
import json
import pathlib
import time

import numpy

from llama import LlamaCpp, build_info


def measure_prefill(llama, tokens):
    llama.clear()
    begin = time.perf_counter()
    llama.prefill(tokens)
    return len(tokens) / (time.perf_counter() - begin)


def measure_decode(llama, tokens, n_streams, prompt_tokens, n_tokens):
    """Tokens a second of all streams together; `tokens` (n_streams, prompt_tokens + n_tokens)."""
    llama.clear()
    streams = list(range(n_streams))
    for stream in streams:
        llama.prefill(tokens[stream][:prompt_tokens], sequence=stream)
    begin = time.perf_counter()
    for step in range(prompt_tokens, prompt_tokens + n_tokens - 1):  # the first token comes from the prompt's logits
        llama.decode([tokens[s][step] for s in streams], [step] * n_streams, streams, [True] * n_streams)
        llama.logits(n_streams - 1)
    return n_streams * (n_tokens - 1) / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--streams", default="1,8,32", help="numbers of streams decoded together; 0: none")
    parser.add_argument("--stream-prompt", type=int, default=16)
    parser.add_argument("--stream-tokens", type=int, default=48)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--after", type=int, default=1, help="tokens of the prompt before the single answer")
    parser.add_argument("--flash-attention", action="store_true")
    args = parser.parse_args()

    rng = numpy.random.default_rng(1)
    n_context = (max(args.prefill, args.after + args.decode) + 1 + 255) // 256 * 256
    llama = LlamaCpp(args.model, args.threads, n_context=n_context, flash_attention=args.flash_attention)
    arbitrary = lambda *shape: rng.integers(0, llama.vocab_size, shape).tolist()  # noqa: E731
    measure_prefill(llama, arbitrary(min(args.prefill, 512)))  # pages, caches and clocks warm up
    result = {"peer": build_info(), "threads": args.threads, "flash_attention": args.flash_attention,
              "prefill_tokens_per_second": measure_prefill(llama, arbitrary(args.prefill)),
              "decode_tokens_per_second": measure_decode(llama, arbitrary(1, args.after + args.decode), 1, args.after, args.decode),
              "streams_tokens_per_second": {}}
    for n in filter(None, map(int, args.streams.split(","))):
        llama.open_context(args.threads, (args.stream_prompt + args.stream_tokens + 255) // 256 * 256, n_sequences=n, flash_attention=args.flash_attention)
        tokens = arbitrary(n, args.stream_prompt + args.stream_tokens)
        measure_decode(llama, tokens, n, args.stream_prompt, 4)
        result["streams_tokens_per_second"][str(n)] = measure_decode(llama, tokens, n, args.stream_prompt, args.stream_tokens)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
