#!/usr/bin/env python3
"""Writes what llama.cpp (llama-cpp-python 0.3.36) answers for the two models of the catalogue: greedy tokens and perplexity.

    make_golden.py MODEL_DIR [greedy|perplexity]

Context: CPU, 2 threads, f16 keys and values, no flash attention; a prompt in one batch, then token by token.
<model>.greedy.json      prompts.json's prompts: ids, then 64 greedy ids (past the end of the text) with llama.cpp's two largest logits
<model>.perplexity.json  english.txt.gz and chinese.txt.gz as llama.cpp's perplexity tool scores them: windows of 512 tokens, each from an
                         empty cache (its first token replaced by BOS where the model's file adds one), and of each window the tokens
                         257 to 511 scored. The sum of negative log-likelihoods of every window, natural logarithm.
The texts: "Alice's Adventures in Wonderland" (Lewis Carroll, 1865; the Canterbury corpus' alice29.txt), and poems of the Tang dynasty.
Both are in the public domain.
"""
import gzip
import json
import math
import pathlib
import sys

import numpy

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[2] / "bench" / "peers"))
from llama import LlamaCpp, build_info  # noqa: E402

MODELS = ["smollm2-135m-instruct-q4_1", "qwen2.5-coder-0.5b-instruct-q4_k_m"]
TEXTS = ["english", "chinese"]
N_GREEDY = 64
WINDOW = 512
FIRST_SCORED = WINDOW // 2


def two_largest(logits):
    best = numpy.argpartition(-logits, 2)[:2]
    best = best[numpy.argsort(-logits[best], kind="stable")]
    return [int(i) for i in best], [round(float(logits[i]), 4) for i in best]


def greedy(llama, prompt):
    tokens = llama.tokenize(prompt["text"], prompt.get("special", False))
    llama.clear()
    logits = llama.prefill(tokens)
    ids, seconds, values = [], [], []
    for step in range(N_GREEDY):
        (first, second), pair = two_largest(logits)
        ids.append(first)
        seconds.append(second)
        values.append(pair)
        if step + 1 < N_GREEDY:
            llama.decode([first], [len(tokens) + step], [0], [True])
            logits = llama.logits(0)
    return {"name": prompt["name"], "prompt": tokens, "greedy": ids, "second": seconds, "logits": values}


def window_nll(llama, tokens):
    llama.clear()
    llama.prefill(tokens, logits_from=FIRST_SCORED)
    total = 0.0
    for i in range(FIRST_SCORED, WINDOW - 1):
        row = llama.logits(i).astype(numpy.float64)
        peak = row.max()
        total += peak + math.log(numpy.exp(row - peak).sum()) - row[tokens[i + 1]]
    return total


def perplexity(llama, text):
    tokens = llama.tokenize(text, False)
    windows = []
    for start in range(0, len(tokens) // WINDOW * WINDOW, WINDOW):
        window = tokens[start:start + WINDOW]
        if llama.add_bos():
            window[0] = llama.bos()
        windows.append(round(window_nll(llama, window), 4))
    n_scored = len(windows) * (WINDOW - 1 - FIRST_SCORED)
    return {"n_tokens": len(tokens), "first_tokens": tokens[:16], "n_scored": n_scored,
            "perplexity": math.exp(sum(windows) / n_scored), "window_nll": windows}


def main():
    model_dir = pathlib.Path(sys.argv[1])
    what = sys.argv[2:] or ["greedy", "perplexity"]
    for name in MODELS:
        llama = LlamaCpp(model_dir / f"{name}.gguf", n_threads=2, n_context=WINDOW)
        if "greedy" in what:
            cases = []
            for prompt in json.loads((HERE / "prompts.json").read_text()):
                cases.append(greedy(llama, prompt))
                gaps = [a - b for a, b in cases[-1]["logits"]]
                print(f"{name} {prompt['name']}: {len(cases[-1]['prompt'])} tokens, smallest gap {min(gaps):.4f}", flush=True)
            lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
            (HERE / f"{name}.greedy.json").write_text(f'{{"llama_cpp": {json.dumps(build_info())}, "prompts": [\n{lines}\n]}}\n')
        if "perplexity" in what:
            results = {"llama_cpp": build_info(), "window": WINDOW, "first_scored": FIRST_SCORED}
            for text in TEXTS:
                results[text] = perplexity(llama, gzip.decompress((HERE / f"{text}.txt.gz").read_bytes()).decode())
                print(f"{name} {text}: {results[text]['n_tokens']} tokens, perplexity {results[text]['perplexity']:.4f}", flush=True)
            (HERE / f"{name}.perplexity.json").write_text(json.dumps(results, separators=(",", ":")) + "\n")
        llama.close()


if __name__ == "__main__":
    main()
