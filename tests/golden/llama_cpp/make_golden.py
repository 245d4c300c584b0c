#!/usr/bin/env python3
"""Writes what llama.cpp (llama-cpp-python 0.3.36) answers for the two models of the catalogue: greedy tokens and perplexity.

    make_golden.py MODEL_DIR [--model NAME] [greedy|perplexity|error]...    (error: after ../models/make_exact.py)

Context: CPU, f16 keys and values, no flash attention; a prompt in one batch, then token by token. The committed files were made with
2 threads (greedy) and 1 thread (perplexity, error).
<model>.greedy.json      prompts.json's prompts: ids, then 64 greedy ids (past the end of the text) with llama.cpp's two largest logits
<model>.perplexity.json  english.txt.gz and chinese.txt.gz as llama.cpp's perplexity tool scores them: windows of 512 tokens, each from an
                         empty cache (its first token replaced by BOS where the model's file adds one), and of each window the tokens
                         257 to 511 scored. Of the text's windows, some, evenly spread: their numbers, and the sum of negative
                         log-likelihoods of each, natural logarithm. <model>.<text>.npy (n_windows, 512) int32: their ids.
<model>.error.json       how far llama.cpp's logits are from the exact ones of ../models, over the same ids: RMS of the difference over
                         the standard deviation of the exact row, and the median over the rows
The texts: "Alice's Adventures in Wonderland" (Lewis Carroll, 1865; the Canterbury corpus' alice29.txt), and poems of the Tang dynasty.
Both are in the public domain.
"""
import argparse
import gzip
import json
import math
import pathlib
import sys

import numpy

HERE = pathlib.Path(__file__).resolve().parent
EXACT = HERE.parent / "models"
sys.path.append(str(HERE.parents[2] / "bench" / "peers"))
from llama import LlamaCpp, build_info  # noqa: E402

MODELS = ["smollm2-135m-instruct-q4_1", "qwen2.5-coder-0.5b-instruct-q4_k_m"]
TEXTS = {"english": 24, "chinese": 8}  # windows, evenly spread over the text
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


def perplexity(llama, text, n_windows, ids_file):
    tokens = llama.tokenize(text, False)
    available = len(tokens) // WINDOW
    numbers = [i * available // n_windows for i in range(n_windows)]
    windows = []
    for number in numbers:
        window = tokens[number * WINDOW:(number + 1) * WINDOW]
        if llama.add_bos():
            window[0] = llama.bos()
        windows.append(window)
    numpy.save(ids_file, numpy.array(windows, numpy.int32))
    nll = [round(window_nll(llama, window), 4) for window in windows]
    n_scored = len(windows) * (WINDOW - 1 - FIRST_SCORED)
    return {"n_tokens": len(tokens), "windows": numbers, "window_nll": nll, "n_scored": n_scored, "perplexity": math.exp(sum(nll) / n_scored)}


def error(llama, name):
    exact = json.loads((EXACT / f"{name}.exact.json").read_text())
    ids, logits = numpy.load(EXACT / f"{name}.ids.npy"), numpy.load(EXACT / f"{name}.logits.npy")
    rows = []
    for prompt in exact["prompts"]:
        llama.clear()
        llama.prefill(prompt["tokens"], logits_from=0)
        for position in prompt["positions"]:
            row = len(rows)
            difference = llama.logits(position)[ids[row]].astype(numpy.float64) - logits[row]
            rows.append(math.sqrt((difference ** 2).mean()) / exact["row_deviation"][row])
    return {"llama_cpp": build_info(), "error": [round(e, 6) for e in rows], "error_median": float(numpy.median(rows))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=pathlib.Path)
    parser.add_argument("what", nargs="*", help="greedy, perplexity, error: default all")
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    what = args.what or ["greedy", "perplexity", "error"]
    for name in args.model or MODELS:
        llama = LlamaCpp(args.model_dir / f"{name}.gguf", n_threads=args.threads, n_context=WINDOW)
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
            for text, n_windows in TEXTS.items():
                results[text] = perplexity(llama, gzip.decompress((HERE / f"{text}.txt.gz").read_bytes()).decode(), n_windows,
                                           HERE / f"{name}.{text}.npy")
                print(f"{name} {text}: {results[text]['n_tokens']} tokens, perplexity {results[text]['perplexity']:.4f}", flush=True)
            (HERE / f"{name}.perplexity.json").write_text(json.dumps(results, separators=(",", ":")) + "\n")
        if "error" in what:
            result = error(llama, name)
            print(f"{name}: median error {result['error_median']:.4f} of the logits' standard deviation; rows {result['error']}", flush=True)
            (HERE / f"{name}.error.json").write_text(json.dumps(result) + "\n")
        llama.close()


if __name__ == "__main__":
    main()
