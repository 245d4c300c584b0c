#!/usr/bin/env python3
"""Time to the first token, turn by turn, of an agent whose prompt grows: instructions, then a tool's answer and the model's own in every turn.

    python3 bench/agent_loop.py --moebox build/release/moebox MODEL [--turns 30] [--instructions 1000] [--new 120] [--threads 2]

Two servers answer the same turns one after the other, one with the prefix cache and one without; they take turns, and the answers must be equal.
"""
import argparse
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request


class Server:
    def __init__(self, args, setting):
        command = [args.moebox, "serve", f"m={args.model}", "--port", "0", "--load-at-start", "--threads", str(args.threads), setting]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if match := re.search(r"listening on (http://[\d.:]+)", line):
                self.url = match.group(1)
                break
        else:
            sys.exit("moebox did not listen")
        while True:
            try:
                return urllib.request.urlopen(self.url + "/ready").close()
            except OSError:
                time.sleep(0.05)

    def answer(self, prompt, n_tokens):
        """(text, seconds to the first token, tokens found in the cache, tokens of the prompt)"""
        body = {"model": "m", "prompt": prompt, "max_tokens": n_tokens, "temperature": 0, "ignore_eos": True, "stream": True,
                "stream_options": {"include_usage": True}}
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        text, first = "", None
        begin = time.perf_counter()
        with urllib.request.urlopen(request) as response:
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                first = first or time.perf_counter() - begin
                chunk = json.loads(line[6:])
                text += "".join(choice["text"] for choice in chunk["choices"])
                usage = chunk.get("usage")
        return text, first, usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]

    def stop(self):
        self.process.terminate()
        self.process.communicate()


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
    args = parser.parse_args()
    servers = {name: Server(args, setting) for name, setting in (("cached", "--prefix-cache"), ("computed", "--no-prefix-cache"))}
    seconds = {name: [] for name in servers}
    prompt = words(args.instructions, 0)
    print("turn  prompt  found  cached ms  computed ms")
    for turn in range(args.turns):
        prompt += "\n" + words(args.new, turn + 1) + "\n"
        found = {name: server.answer(prompt, args.answer) for name, server in servers.items()}
        if found["cached"][0] != found["computed"][0]:
            sys.exit(f"turn {turn + 1}: the answers differ")
        for name in servers:
            seconds[name].append(found[name][1])
        text, _, n_found, n_prompt = found["cached"]
        print(f"{turn + 1:4} {n_prompt:7} {n_found:6} {seconds['cached'][-1] * 1000:10.0f} {seconds['computed'][-1] * 1000:12.0f}", flush=True)
        prompt += text
    for server in servers.values():
        server.stop()
    late = {name: statistics.median(values[-10:]) for name, values in seconds.items()}
    print(f"median of the last ten turns: {late['cached'] * 1000:.0f} ms with the prefix cache, {late['computed'] * 1000:.0f} ms without: {late['computed'] / late['cached']:.1f} times")


if __name__ == "__main__":
    main()
