#!/usr/bin/env python3
"""Time to the first token of a prompt that is computed, and of the same one found on disk after kill -9 and a new start.

    python3 bench/kv_store.py --moebox build/release/moebox MODEL [--words 3998] [--rounds 3] [--threads 2] [--warm] [--json FILE]

The store's files are dropped from the page cache in between, unless --warm says not to. MOEBOX_KV_STORE_KEY encrypts them.
"""
import argparse
import os
import pathlib
import random
import statistics
import sys
import tempfile
import time

from served import serve, stream, write_json

WORDS = ("time person year way day thing man world life hand part child eye woman place work week case point government company number group "
         "problem fact run walk blue green small large under over with").split()


def answer(server, prompt):
    """(seconds to the first token, text, usage)"""
    text, first, usage = "", None, None
    for seconds, chunk in stream(server, "/v1/completions", {"prompt": prompt, "max_tokens": 16}):
        first = first or seconds
        text += "".join(choice["text"] for choice in chunk["choices"])
        usage = chunk.get("usage")
    return first, text, usage


def forget(folder):
    """The system's page cache knows nothing of the store's files any more."""
    for path in pathlib.Path(folder).glob("*.kv"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def killed(server):
    server.process.kill()
    server.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--moebox", required=True)
    parser.add_argument("--words", type=int, default=3998, help="of the prompt; most are one token")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    choice = random.Random(7)
    prompt = " ".join(choice.choice(WORDS) for _ in range(args.words))
    print("tokens  computed ms  stored MB  found  found ms  share")
    rounds = []
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory(prefix="moebox-kv-") as folder:
            options = ("--context", str(args.words * 2 + 64), "--kv-store", folder)
            server = serve(args.moebox, args.model, args.threads, *options)
            answer(server, "Hi")
            computed, text, usage = answer(server, prompt)
            n_blocks, until = (usage["prompt_tokens"] - 1) // 32, time.monotonic() + 30
            while server.metric("moebox:kv_store_blocks") < n_blocks and time.monotonic() < until:
                time.sleep(0.02)
            stored = server.metric("moebox:kv_store_bytes")
            killed(server)
            if not args.warm:
                forget(folder)
            server = serve(args.moebox, args.model, args.threads, *options)
            answer(server, "Hi")
            found, again, usage = answer(server, prompt)
            killed(server)
            if again != text:
                sys.exit("the answers differ")
            n_found = usage["prompt_tokens_details"]["cached_tokens"]
            print(f"{usage['prompt_tokens']:6} {computed * 1000:12.0f} {stored / 1e6:10.1f} {n_found:6} {found * 1000:9.0f} {found / computed:6.1%}", flush=True)
            rounds.append({"prompt_tokens": usage["prompt_tokens"], "found_tokens": n_found, "stored_bytes": stored, "computed_ms": computed * 1000,
                           "found_ms": found * 1000, "share": found / computed})
    write_json(args.json, {"rounds": rounds, "share": statistics.median(figures["share"] for figures in rounds)})


if __name__ == "__main__":
    main()
