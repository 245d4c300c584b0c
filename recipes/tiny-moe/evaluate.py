#!/usr/bin/env python3
"""Twenty answers that nobody picked, and the perplexity of pages that the model has not seen.

    python3 evaluate.py MODEL.gguf --texts build/tiny-moe/texts --moebox build/release/moebox [--out FILE.json] [--samples FILE.md]

The questions are the first of the held-out pages' in either language, in the order of their digests; answers are drawn at temperature 0.3 by one seed.
"""
import argparse
import json
import pathlib
import subprocess

ASKED = 10     # of each language


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed with {done.returncode}: {done.stderr}")
    return done.stdout


def answer(moebox, model, question):
    return run(moebox, "run", model, question, "--temperature", "0.3", "--seed", "1", "--max-tokens", "220").strip()


def perplexity(moebox, model, path):
    found = json.loads(run(moebox, "perplexity", model, path, "--json"))
    return {"perplexity": found["perplexity"], "tokens": found["scored_tokens"], "bytes": path.stat().st_size}


def page_of(samples):
    """The answers as Markdown."""
    page = ["# What tiny-moe says\n",
            "Nobody picked these: the first ten questions about held-out pages in either language, in the order of their digests, at temperature 0.3 with seed 1, at most 220 tokens (`evaluate.py`).",
            "The pages that would answer them were not learnt, so form is what there is to judge: facts are mostly wrong."]
    for sample in samples:
        page.append(f"\n**{sample['question']}**\n\n```\n{sample['answer']}\n```")
    return "\n".join(page) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--texts", type=pathlib.Path, required=True)
    parser.add_argument("--moebox", default="build/release/moebox")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--samples", type=pathlib.Path)
    options = parser.parse_args()
    result = {"samples": [], "held_out": {}}
    for language in ("en", "zh"):
        path = options.texts / f"held_out.{language}.txt"
        result["held_out"][language] = found = perplexity(options.moebox, options.model, path)
        print(f"held out, {language}: perplexity {found['perplexity']:.2f} of {found['tokens']} tokens")
        questions = (options.texts / f"held_out.{language}.questions.txt").read_text(encoding="utf-8").splitlines()[:ASKED]
        for question in questions:
            said = answer(options.moebox, options.model, question)
            result["samples"].append({"question": question, "answer": said})
            print(f"\n> {question}\n{said}")
    if options.out:
        options.out.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if options.samples:
        options.samples.write_text(page_of(result["samples"]), encoding="utf-8")


if __name__ == "__main__":
    main()
