#!/usr/bin/env python3
"""Speed of answers with drafts against the same answers without: code editing, extraction, plain text, and plain text that is sampled.

    python3 bench/speculation.py --moebox build/release/moebox MODEL [--draft-model SMALL] [--rounds 3] [--tokens 160] [--threads 2] [--streams 1] [--json FILE]

Drafts come from look-up in prompt and answer, or, with --draft-model, from that second model.

Two servers answer the same questions in turns, greedy or with the same seed; the answers must be equal. The figure of a task is the median of the rounds' ratios
of decode speeds (tokens after the first one by the time since it). With --streams several users ask at once, each question as many times as it takes: the speed is
then all their tokens by the time from the first question to the last answer.
"""
import argparse
import concurrent.futures
import itertools
import os
import statistics
import sys
import time

from served import serve, stream, write_json

PROGRAM = '''class Inventory:
    def __init__(self, warehouse, capacity):
        self.warehouse = warehouse
        self.capacity = capacity
        self.items = {}

    def add(self, name, count, price):
        if count <= 0:
            raise ValueError("count must be positive")
        if self.total_count() + count > self.capacity:
            raise OverflowError("the warehouse is full")
        if name in self.items:
            old_count, _ = self.items[name]
            self.items[name] = (old_count + count, price)
        else:
            self.items[name] = (count, price)

    def remove(self, name, count):
        if name not in self.items:
            raise KeyError(name)
        old_count, price = self.items[name]
        if count > old_count:
            raise ValueError("not enough items")
        if count == old_count:
            del self.items[name]
        else:
            self.items[name] = (old_count - count, price)

    def total_count(self):
        return sum(count for count, _ in self.items.values())

    def total_value(self):
        return sum(count * price for count, price in self.items.values())
'''

LETTER = '''Dear Ms Okafor, thank you for your order of 14 March 2024 (number AX-20931-7). We have shipped 12 ceramic insulators
of type KL-440/B at 18.40 euros each, 3 surge arresters of type SV-9 at 212.00 euros each and 40 metres of copper cable NYM-J 5x16 at
9.75 euros a metre. The insulators left our plant in Brno on 18 March with the carrier Nordfracht, tracking number NF 5530 2281 90; the
arresters and the cable follow on 22 March from Gdansk, tracking number NF 5530 2297 14. Please send the invoice address of your
subsidiary in Lagos to accounts@brunner-elektrik.example, or call Mr Tomas Hlavacek at +420 555 013 882. Our bank details are unchanged:
IBAN CZ65 0800 0000 1920 0014 5399, BIC GIBACZPX.'''

TASKS = {
    "edit": [
        f"Rename the method `total_count` to `count_all` everywhere in this file. Answer with the whole changed file and nothing else.\n\n```python\n{PROGRAM}```",
        f"Add a docstring of one line to the class and change nothing else. Answer with the whole file.\n\n```python\n{PROGRAM}```",
    ],
    "extract": [
        f"Copy out of this letter every sentence that has a number in it, word by word, one a line.\n\n{LETTER}",
        f"Give all goods, quantities, prices, dates and tracking numbers of this letter as JSON.\n\n{LETTER}",
    ],
    "plain": [
        "Tell a story about a lighthouse keeper who finds a letter in a bottle.",
        "Explain how rain forms, from the sea to the ground.",
        "What should a small town consider before it builds a new bridge?",
    ],
}
TASKS["sampled"] = TASKS["plain"]
SAMPLING = {"sampled": {"temperature": 0.8, "seed": 20}}


def answer(server, question, n_tokens, sampling):
    """(text, decoded tokens a second)"""
    text, first, last, usage = "", None, None, None
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": n_tokens, **sampling}
    for seconds, chunk in stream(server, "/v1/chat/completions", body):
        piece = "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
        if piece:
            last = seconds
            first = first or last
        text += piece
        usage = chunk.get("usage")
    return text, (usage["completion_tokens"] - 1) / (last - first)


def answers_together(server, questions, n_streams, n_tokens, sampling):
    """(texts, tokens a second of all streams)"""
    def ask(stream_index, question):
        seed = {"seed": sampling["seed"] + stream_index} if "seed" in sampling else {}
        body = {"messages": [{"role": "user", "content": question}], "max_tokens": n_tokens, **sampling, **seed}
        chunks = [chunk for _, chunk in stream(server, "/v1/chat/completions", body)]
        text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        return text, next(chunk["usage"]["completion_tokens"] for chunk in reversed(chunks) if chunk.get("usage"))

    with concurrent.futures.ThreadPoolExecutor(n_streams) as users:
        begin = time.perf_counter()
        found = list(users.map(ask, range(n_streams), itertools.islice(itertools.cycle(questions), n_streams)))
        seconds = time.perf_counter() - begin
    return [text for text, _ in found], sum(n for _, n in found) / seconds


def counters(server):
    """Drafted tokens that were right, and all of them."""
    return [int(server.metric(f"vllm:spec_decode_num_{name}_tokens_total")) for name in ("accepted", "draft")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--moebox", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=160, help="longest answer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--streams", type=int, default=1, help="answers at once")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--draft-model", help="a small model of the same vocabulary that drafts")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.1f}")
    kind = "draft" if args.draft_model else "ngram"
    options = ["--draft-model", args.draft_model] if args.draft_model else []
    off, drafting = (serve(args.moebox, args.model, args.threads, "--context", "2048", "--speculation", *more) for more in (["off"], [kind, *options]))
    figures = {}

    def ask(server, question, sampling):
        if args.streams == 1:
            return answer(server, question, args.tokens, sampling)
        return answers_together(server, question, args.streams, args.tokens, sampling)

    print("task      without   with (tokens/s)   ratio   right/drafted")
    for task in args.tasks.split(","):
        speeds, ratios = {"off": [], kind: []}, []
        before = counters(drafting)
        for question in TASKS[task] if args.streams == 1 else [TASKS[task]]:
            for turn in range(args.rounds + 1):  # the first one fills the prefix cache
                (expected, slow), (text, fast) = (ask(server, question, SAMPLING.get(task, {})) for server in (off, drafting))
                if text != expected:
                    sys.exit(f"{task}: the answers differ:\n{expected}\n----\n{text}")
                if turn == 0:
                    continue
                speeds["off"].append(slow)
                speeds[kind].append(fast)
                ratios.append(fast / slow)
        right, drafted = (now - then for now, then in zip(counters(drafting), before))
        figures[task] = {"off": statistics.median(speeds["off"]), kind: statistics.median(speeds[kind]),
                         "ratio": statistics.median(ratios), "accepted": right, "drafted": drafted}
        print(f"{task:8} {figures[task]['off']:8.1f} {figures[task][kind]:8.1f}        {figures[task]['ratio']:8.2f}   {right}/{drafted}", flush=True)
    off.stop()
    drafting.stop()
    write_json(args.json, figures)


if __name__ == "__main__":
    main()
