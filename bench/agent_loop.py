#!/usr/bin/env python3
"""Time to the first token, turn by turn, of an agent whose prompt grows: instructions, then a tool's answer and the model's own in every turn.

    python3 bench/agent_loop.py --moebox build/release/moebox MODEL [--turns 30] [--instructions 1000] [--new 120] [--threads 2] [--pause 0] [--json FILE]

Two servers answer the same turns one after the other, one with the prefix cache and one without; they take turns, and the answers must be equal.
"""
import argparse
import statistics
import sys
import time

from served import serve, stream, write_json


def answer(server, prompt, n_tokens):
    """(text, seconds to the first token, tokens found in the cache, tokens of the prompt)"""
    text, first, usage = "", None, None
    for seconds, chunk in stream(server, "/v1/completions", {"prompt": prompt, "max_tokens": n_tokens, "ignore_eos": True}):
        first = first or seconds
        text += "".join(choice["text"] for choice in chunk["choices"])
        usage = chunk.get("usage")
    return text, first, usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]


def words(n, seed):
    """Arbitrary text of about n tokens."""
    return " ".join(str((seed * 7919 + i * 104729) % 900 + 100) for i in range(n // 4))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--moebox", required=True)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--instructions", type=int, default=1000, help="tokens of the first prompt, about")
    parser.add_argument("--new", type=int, default=120, help="tokens of a tool's answer, about")
    parser.add_argument("--answer", type=int, default=24, help="tokens of the model's answer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0, help="seconds that a tool takes: servers have nothing to do meanwhile")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    servers = {name: serve(args.moebox, args.model, args.threads, setting) for name, setting in (("cached", "--prefix-cache"), ("computed", "--no-prefix-cache"))}
    seconds = {name: [] for name in servers}
    turns = []
    prompt = words(args.instructions, 0)
    print("turn  prompt  found  cached ms  computed ms")
    for turn in range(args.turns):
        prompt += "\n" + words(args.new, turn + 1) + "\n"
        # The one with the cache comes last, and the pause behind it: what it computes meanwhile disturbs no measurement.
        found = {name: answer(servers[name], prompt, args.answer) for name in ("computed", "cached")}
        time.sleep(args.pause)
        if found["cached"][0] != found["computed"][0]:
            sys.exit(f"turn {turn + 1}: the answers differ")
        for name in servers:
            seconds[name].append(found[name][1])
        text, _, n_found, n_prompt = found["cached"]
        print(f"{turn + 1:4} {n_prompt:7} {n_found:6} {seconds['cached'][-1] * 1000:10.0f} {seconds['computed'][-1] * 1000:12.0f}", flush=True)
        turns.append({"prompt_tokens": n_prompt, "found_tokens": n_found, **{f"{name}_ms": values[-1] * 1000 for name, values in seconds.items()}})
        prompt += text
    for server in servers.values():
        server.stop()
    late = {name: statistics.median(values[-10:]) for name, values in seconds.items()}
    print(f"median of the last ten turns: {late['cached'] * 1000:.0f} ms with the prefix cache, {late['computed'] * 1000:.0f} ms without: {late['computed'] / late['cached']:.1f} times")
    write_json(args.json, {"turns": turns, "last_ten_ms": {name: value * 1000 for name, value in late.items()}})


if __name__ == "__main__":
    main()
