#!/usr/bin/env python3
"""Do moebox and llama.cpp agree on a model too large for golden files? Greedy tokens, compared where the next token is in doubt.

    agree.py --moebox PROGRAM MODEL.gguf ... [--prompts 4] [--prompt-tokens 32] [--tokens 64] [--exact EXACT.gguf]
    (EXACT.gguf: moebox convert MODEL.gguf EXACT.gguf --type F32)

llama.cpp answers prompts of arbitrary ids greedily, and moebox computes the logits of the same ids. Where both take the same token at a
place, fine. Where they do not, the two tokens must be closer than the difference of the two programs allows: over a row of logits it is
close to normal, with the deviation s; for the two tokens to change places both programs' gaps between them must add up to a difference of
two of its entries, and 4.5 sqrt(2) s is the budget for that (1 in 150,000 by chance). What s may be is another question: with F32 weights
nothing but the order of additions, so all tokens must be equal there; with int8 activations (moebox: a scale for 32 or, for K types, 256
columns; llama.cpp the same sizes with other roundings) about what --exact says: the errors of both against the logits of the same
weights in F32. Exit status 1 when a place is beyond its budget.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy

from llama import LlamaCpp

DEVIATIONS = 4.5


def two_best(row):
    best = numpy.argpartition(-row, 2)[:2]
    return best[numpy.argsort(-row[best], kind="stable")]


def greedy(llama, prompt, n):
    """(ids of prompt and answer but the last, rows of logits (n, vocab))."""
    llama.clear()
    ids, rows = list(prompt), [llama.prefill(prompt).copy()]
    while len(rows) < n:
        ids.append(int(rows[-1].argmax()))
        llama.decode([ids[-1]], [len(ids) - 1], [0], [True])
        rows.append(llama.logits(0).copy())
    return ids, numpy.array(rows)


def moebox_logits(program, model, ids, n, folder, threads):
    """Rows (n, vocab) of the last n positions."""
    (folder / "ids").write_text(",".join(map(str, ids)))
    subprocess.run([program, "logits", model, "--file", folder / "ids", "--out", folder / "logits.npy", "--threads", str(threads)],
                   check=True, stdout=subprocess.DEVNULL)
    return numpy.load(folder / "logits.npy")[-n:]


def deviation(rows, others):
    """Of the difference, per place, in deviations of the logits themselves."""
    return (rows.astype(numpy.float64) - others).std(axis=1) / others.std(axis=1)


def differing(ours, theirs, first):
    places = []
    spread = (ours.astype(numpy.float64) - theirs).std(axis=1)
    for i, (a, b) in enumerate(zip(ours.argmax(axis=1), theirs.argmax(axis=1))):
        if a != b:
            gap = float(ours[i, a] - ours[i, b]) + float(theirs[i, b] - theirs[i, a])
            places.append({"place": first + i, "ours": int(a), "theirs": int(b), "gap": gap, "budget": DEVIATIONS * 2 ** 0.5 * float(spread[i])})
    return places


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--moebox", type=pathlib.Path, required=True)
    parser.add_argument("--exact", type=pathlib.Path, help="the same weights in F32")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    reports, failed = [], False
    for path in args.models:
        llama = LlamaCpp(path, args.threads, n_context=args.prompt_tokens + args.tokens)
        rng = numpy.random.default_rng(1)
        prompts = rng.integers(0, llama.vocab_size, (args.prompts, args.prompt_tokens)).tolist()
        answers = [greedy(llama, prompt, args.tokens) for prompt in prompts]
        llama.close()
        places, difference, gaps, errors = [], [], [], {"moebox": [], "llama_cpp": []}
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for ids, theirs in answers:
                ours = moebox_logits(args.moebox, path, ids, args.tokens, folder, args.threads)
                places += differing(ours, theirs, args.prompt_tokens)
                difference += deviation(ours, theirs).tolist()
                gaps += [float(row[a] - row[b]) for row in theirs for a, b in [two_best(row)]]
                if args.exact:
                    exact = moebox_logits(args.moebox, args.exact, ids, args.tokens, folder, args.threads)
                    errors["moebox"] += deviation(ours, exact).tolist()
                    errors["llama_cpp"] += deviation(theirs, exact).tolist()
        worst = max((place["gap"] / place["budget"] for place in places), default=0.0)
        failed |= worst > 1
        median = lambda values: float(numpy.median(values)) if values else None  # noqa: E731
        report = {"model": path.name, "places": args.prompts * args.tokens, "equal": args.prompts * args.tokens - len(places),
                  "difference_median": median(difference), "gap_median": median(gaps), "gap_smallest": min(gaps),
                  "errors_median": {who: median(values) for who, values in errors.items()}, "largest_share_of_budget": worst, "differing": places}
        reports.append(report)
        print(f"{path.name}: {report['equal']} of {report['places']} greedy tokens equal; logits differ by {report['difference_median']:.1e} of their "
              f"deviation (median); llama.cpp's two best are {report['gap_median']:.3f} apart (median; smallest {report['gap_smallest']:.1e})"
              + (f"; differing tokens take at most {worst:.2f} of their budget" if places else "")
              + (f"; errors: moebox {report['errors_median']['moebox']:.1e}, llama.cpp {report['errors_median']['llama_cpp']:.1e}" if args.exact else ""),
              flush=True)
    if args.json:
        args.json.write_text(json.dumps(reports, indent=1) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
