#!/usr/bin/env python3
"""Instructions of fixed work, counted by valgrind's callgrind: a measure of speed that no noise disturbs.

    python3 bench/instructions.py --moebox build/dev/moebox --store ~/.cache/moebox/models             compare with instructions.json
    python3 bench/instructions.py --moebox build/dev/moebox --store ~/.cache/moebox/models --update    write it anew

It fails when a count is more than 3% above the committed one. Valgrind has no AVX-512: the work is done with AVX2 and with scalar code, on one thread.
Counts hold for one compiler and one preset (dev); another compiler is an error that says so. An improvement is told, and becomes the new baseline with --update.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BASELINE = HERE / "instructions.json"
GOLDEN = HERE.parent / "tests" / "golden"
SMOLLM2 = "smollm2-135m-instruct-q4_1.gguf"
QWEN = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
ALLOWED_GROWTH = 0.03

# What is counted of a run: everything that happens within the functions of this name (together with what they call).
LOAD = r"moebox::load_model\("
FORWARD = r"moebox::\(anonymous namespace\)::(Llama|Deepseek)::forward\("
ENCODE = r"moebox::Tokenizer::encode\(|moebox::\w*Bpe\w*::encode\("


def ids(count):
    return ",".join(str(100 + i) for i in range(count))


def logits(model, n_tokens, isa):
    return ["logits", model, "--ids", ids(n_tokens), "--last", "--out", "/dev/null", "--isa", isa]


def bench(model, n_tokens, streams, isa):
    """Decoding, after three tokens of prompts; what bench measures of the machine is not counted."""
    return ["bench", model, "--prefill", "2", "--decode", str(n_tokens), "--streams", str(streams), "--stream-prompt", "1", "--stream-tokens", str(n_tokens),
            "--repeat", "1", "--isa", isa]


def runs(store):
    """(arguments, {what: functions})"""
    return [
        (logits(f"{store}/{QWEN}", 8, "avx2"), {"Qwen2.5-Coder-0.5B Q4_K_M, load": LOAD, "Qwen2.5-Coder-0.5B Q4_K_M, prefill of 8, AVX2": FORWARD}),
        (logits(f"{store}/{SMOLLM2}", 32, "avx2"), {"SmolLM2-135M Q4_1, load": LOAD, "SmolLM2-135M Q4_1, prefill of 32, AVX2": FORWARD}),
        (bench(f"{store}/{SMOLLM2}", 6, 0, "avx2"), {"SmolLM2-135M Q4_1, decode of 6, AVX2": FORWARD}),
        (logits(f"{store}/{SMOLLM2}", 1, "scalar"), {"SmolLM2-135M Q4_1, one token, scalar": FORWARD}),
        (logits(f"{GOLDEN}/deepseek/models/tiny-v3", 64, "avx2"), {"tiny DeepSeek-V3 BF16, prefill of 64, AVX2": FORWARD}),
        (logits(f"{GOLDEN}/deepseek/models/tiny-v3", 64, "scalar"), {"tiny DeepSeek-V3 BF16, prefill of 64, scalar": FORWARD}),
        (["tokenize", f"{store}/{QWEN}", "--count", "--file", f"{GOLDEN}/tokenizer/documents.json"], {"Qwen2.5's tokenizer, documents.json": ENCODE}),
    ]


def counted(profile, functions):
    """The largest inclusive count of the functions that match: of a function and its lambdas the function itself."""
    text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(profile)], check=True, capture_output=True, text=True).stdout
    counts = [int(match[1].replace(",", "")) for match in re.finditer(r"^ *([\d,]+) \([ \d.]+%\)  (.*)$", text, re.M) if re.search(functions, match[2])]
    if not counts:
        sys.exit(f"instructions: no function matches {functions}: was it renamed?")
    return max(counts)


def measure(moebox, run):
    arguments, wanted = run
    with tempfile.TemporaryDirectory() as folder:
        profile = pathlib.Path(folder) / "profile"
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "LC_ALL": "C.UTF-8", "MOEBOX_THREADS": "1", "MOEBOX_PACK_FILE": "off"}
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", moebox, *arguments], env=environment, capture_output=True,
                              text=True)
        if done.returncode != 0:
            sys.exit(f"instructions: {' '.join(arguments)} failed:\n{done.stderr}")
        return {what: counted(profile, functions) for what, functions in wanted.items()}


def compiler_of(moebox):
    version = subprocess.run([moebox, "version", "--json"], check=True, capture_output=True, text=True).stdout
    return json.loads(version)["compiler"]


def compare(counts, baseline):
    """Prints the table; what grew too much."""
    grown = []
    for what, count in counts.items():
        before = baseline["instructions"].get(what)
        change = "new" if before is None else f"{100 * (count / before - 1):+.2f} %"
        print(f"{count:>14,}  {change:>9}  {what}")
        if before is None or count > before * (1 + ALLOWED_GROWTH):
            grown.append(what)
        elif count < before * (1 - ALLOWED_GROWTH):
            print(f"{'':>14}  less than before: --update makes it the baseline")
    missing = baseline["instructions"].keys() - counts.keys()
    return grown + sorted(missing)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moebox", required=True, help="the program, of the preset dev")
    parser.add_argument("--store", required=True, help="folder of the two models")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once [processors]")
    parser.add_argument("--update", action="store_true", help="write instructions.json instead of comparing")
    args = parser.parse_args()

    compiler = compiler_of(args.moebox)
    baseline = {"instructions": {}} if args.update else json.loads(BASELINE.read_text())
    if not args.update and baseline["compiler"] != compiler:
        sys.exit(f"instructions: the baseline was counted with {baseline['compiler']}, this program was built by {compiler}: the counts can not be compared")
    counts = {}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for result in pool.map(lambda run: measure(args.moebox, run), runs(os.path.expanduser(args.store))):
            counts.update(result)
    if args.update:
        BASELINE.write_text(json.dumps({"compiler": compiler, "instructions": counts}, indent=2) + "\n")
        print(f"{BASELINE.name}: {len(counts)} counts")
        return
    grown = compare(counts, baseline)
    if grown:
        sys.exit("instructions: more than 3 % above the baseline, or not in it: " + "; ".join(grown))


if __name__ == "__main__":
    main()
