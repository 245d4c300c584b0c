#!/usr/bin/env python3
"""What a long prompt that arrives does to answers that are running: the time between their tokens before and while it is computed.

    python3 bench/smoothness.py --moebox build/release/moebox MODEL [--streams 4] [--prompt 4000] [--rounds 5] [--threads 2] [--json FILE]

Answers run alone before the prompt and after it: what they take then is what the time beside it is compared with.
The aim: the 95th percentile while the prompt is computed stays within twice the quiet one. With --slowdown 0 prompts are computed at once.
"""
import argparse
import statistics
import threading
import time

from agent_loop import words
from served import serve, stream, write_json


class Answer(threading.Thread):
    """One running answer, and when each of its tokens came."""

    def __init__(self, server, number, n_tokens):
        super().__init__(daemon=True)
        self.server, self.number, self.n_tokens = server, number, n_tokens
        self.times = []
        self.stop = False

    def run(self):
        body = {"prompt": words(100, self.number), "max_tokens": self.n_tokens, "ignore_eos": True}
        for _, chunk in stream(self.server, "/v1/completions", body):
            if chunk["choices"] and chunk["choices"][0]["text"] != "":
                self.times.append(time.perf_counter())
            if self.stop:
                return

    def gaps(self, begin, end):
        times = [t for t in self.times if begin <= t <= end]
        return [b - a for a, b in zip(times, times[1:])]


def percentile_95(values):
    return sorted(values)[int(len(values) * 0.95)]


def first_token(server, prompt):
    """Seconds to the first token of a long prompt."""
    return next(seconds for seconds, chunk in stream(server, "/v1/completions", {"prompt": prompt, "max_tokens": 1}) if chunk["choices"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--moebox", required=True)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=4000, help="its tokens, about")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quiet", type=float, default=3, help="seconds of answers alone before the prompt arrives, and after it")
    parser.add_argument("--slowdown", default="2", help="server.decode_slowdown")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    server = serve(args.moebox, args.model, args.threads, "--no-prefix-cache", "--decode-slowdown", args.slowdown)
    print("round  quiet p95 ms  beside the prompt p95 ms  ratio  longest ms  first token s  alone s")
    rounds = []
    for number in range(args.rounds):
        alone = first_token(server, words(args.prompt, 1000 + number))
        answers = [Answer(server, 10 * number + i, 6000) for i in range(args.streams)]
        for answer in answers:
            answer.start()
        while any(len(answer.times) < 5 for answer in answers):
            time.sleep(0.01)
        begin = time.perf_counter()
        time.sleep(args.quiet)
        arrival = time.perf_counter()
        waited = first_token(server, words(args.prompt, 2000 + number))
        end = time.perf_counter()
        time.sleep(args.quiet)
        for answer in answers:
            answer.stop = True
        # Before and after: answers' contexts grow meanwhile, and a step takes longer for it with a prompt or without.
        quiet = [gap for answer in answers for window in ((begin, arrival), (end, end + args.quiet)) for gap in answer.gaps(*window)]
        beside = [gap for answer in answers for gap in answer.gaps(arrival, end)]
        for answer in answers:
            answer.join()
        before, during = percentile_95(quiet) * 1000, percentile_95(beside) * 1000
        rounds.append({"quiet_p95_ms": before, "beside_p95_ms": during, "ratio": during / before, "longest_ms": max(beside) * 1000,
                       "first_token_s": waited, "first_token_alone_s": alone})
        print(f"{number + 1:5} {before:13.1f} {during:25.1f} {during / before:6.2f} {max(beside) * 1000:11.0f} {waited:14.2f} {alone:8.2f}", flush=True)
    server.stop()
    ratio = statistics.median(figures["ratio"] for figures in rounds)
    print(f"median ratio: {ratio:.2f}")
    write_json(args.json, {"rounds": rounds, "ratio": ratio})


if __name__ == "__main__":
    main()
