#!/usr/bin/env python3
"""What a type of the KV cache costs in quality: perplexity of a text with each, and llama.cpp's own beside it. For docs/kv-cache.md.

    python3 bench/kv_types.py --moebox build/release/moebox MODEL.gguf...                   moebox alone
    .venv/bin/python bench/kv_types.py --moebox build/release/moebox --peer MODEL.gguf...   and llama.cpp (peers/requirements.txt)

The text is tests/golden/llama_cpp/english.txt.gz, in windows of --window tokens, each from an empty cache, the second half scored. llama.cpp runs with
flash attention, which its quantised caches need, one window a batch. In brackets: against the same program with the first of --types.
"""
import argparse
import gzip
import json
import math
import pathlib
import subprocess
import sys
import tempfile

from served import write_json

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT = ROOT / "tests" / "golden" / "llama_cpp" / "english.txt.gz"
TYPES = ["f32", "f16", "bf16", "q8_0"]
GGML = {"f32": 0, "f16": 1, "bf16": 30, "q8_0": 8}


def moebox(program, model, text, options):
    scores = {}
    for kind in options.types:
        command = [program, "perplexity", str(model), str(text), "--window", str(options.window), "--windows", str(options.windows), "--kv-type", kind,
                   "--threads", str(options.threads), "--pack-file", "off", "--json"]
        scores[kind] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["perplexity"]
    return scores


def llama_cpp(model, text, options):
    sys.path.append(str(ROOT / "bench" / "peers"))
    import numpy
    from llama import LlamaCpp

    llama = LlamaCpp(model, options.threads, options.window, n_batch=options.window)
    tokens = llama.tokenize(text.read_text(), True)
    scores = {}
    for kind in options.types:
        llama.open_context(options.threads, options.window, n_batch=options.window, flash_attention=True, kv_type=GGML[kind])
        total, count = 0.0, 0
        for w in range(min(options.windows, len(tokens) // options.window)):
            window = tokens[w * options.window:(w + 1) * options.window]
            if llama.add_bos():
                window[0] = llama.bos()
            llama.clear()
            llama.prefill(window, logits_from=options.window // 2)
            for i in range(options.window // 2, options.window - 1):
                row = llama.logits(i).astype(numpy.float64)
                peak = row.max()
                total += peak + math.log(numpy.exp(row - peak).sum()) - row[window[i + 1]]
                count += 1
        scores[kind] = math.exp(total / count)
    llama.close()
    return scores


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--moebox", required=True)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    report = {}
    print("| model | program | " + " | ".join(options.types) + " |\n|---|---|" + "---|" * len(options.types))
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "text.txt"
        text.write_bytes(gzip.decompress(TEXT.read_bytes()))
        for model in options.models:
            programs = {"moebox": lambda: moebox(options.moebox, model, text, options)}
            if options.peer:
                programs["llama.cpp"] = lambda: llama_cpp(model, text, options)
            for name, run in programs.items():
                scores = run()
                report.setdefault(model.stem, {})[name] = scores
                first = scores[options.types[0]]
                cells = [f"{first:.4f}"] + [f"{scores[kind]:.4f} ({100 * (scores[kind] / first - 1):+.2f} %)" for kind in options.types[1:]]
                print(f"| {model.stem} | {name} | " + " | ".join(cells) + " |", flush=True)
    write_json(options.json, report)


if __name__ == "__main__":
    main()
