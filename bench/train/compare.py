#!/usr/bin/env python3
"""Training steps of moebox beside transformers' (eager and torch.compile), taken in turns, and beside what the processor's multipliers allow.

    cmake --preset release -DMOEBOX_BENCH=ON -DMOEBOX_TRAIN=ON && ninja -C build/release train_step_bench
    python3 -m venv build/peers-train && build/peers-train/bin/pip install -r bench/train/requirements.txt
    build/peers-train/bin/python bench/train/compare.py [--models small,large] [--types bf16,f32] [--rounds 5] [--json FILE [--add]]
    build/peers-train/bin/python bench/train/compare.py --switches     # moebox alone: what checkpointing, Muon and experts cost and save

A round is one process of each: a warm-up and a few steps, of which the median counts. The peer runs as it comes, and with malloc's thresholds raised (else every step gives
its memory back and asks for it again); the better of the two counts for it. Tables have the medians of the rounds, the ratio (above 1: moebox is faster), and largest over
smallest of either side.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
STEP = HERE.parent.parent / "build" / "release" / "bench" / "train_step_bench"
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
PEERS = {"eager": ([], {}), "eager, malloc tuned": ([], MALLOC), "compiled, malloc tuned": (["--compile"], MALLOC)}
SWITCHES = {"as it comes": [], "gradient_checkpointing": ["--recompute", "yes"], "muon": ["--optimizer", "muon"],
            "both": ["--recompute", "yes", "--optimizer", "muon"], "f32": ["--type", "f32"], "dense, as many active": ["--model", "dense"]}


def run(command, environment=()):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=os.environ | dict(environment))
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def moebox(options):
    return run([STEP, "--json", "yes"] + options)


def median(rounds, key="tokens_per_second"):
    return statistics.median(one[key] for one in rounds)


def spread(rounds):
    speeds = [one["tokens_per_second"] for one in rounds]
    return max(speeds) / min(speeds)


def megabytes(rounds):
    return median(rounds, "resident_bytes") / 1e6


def share_of_limit(rounds):
    return statistics.median(one["operations_per_second"] for one in rounds) / max(one["limit_operations_per_second"] for one in rounds)


def print_table(title, rounds):
    ours = rounds["moebox"]
    print(f"\n{title}: {ours[0]['parameters'] / 1e6:.1f}M weights, {ours[0]['threads']} threads, {len(ours)} rounds; "
          f"moebox reaches {share_of_limit(ours):.0%} of {max(one['limit_operations_per_second'] for one in ours) / 1e9:.0f} GFLOP/s")
    print(f"{'':26}{'tokens/s':>10}{'spread':>8}{'MB':>8}{'moebox is':>11}{'in memory':>11}")
    for name, found in rounds.items():
        ratio = "" if name == "moebox" else f"{median(ours) / median(found):10.2f}x{megabytes(ours) / megabytes(found):10.2f}x"
        print(f"{name:26}{median(found):10.0f}{spread(found):8.2f}{megabytes(found):8.0f}{ratio}", flush=True)


def print_switches(rounds):
    plain = rounds["as it comes"]
    print(f"\n{'':26}{'tokens/s':>10}{'spread':>8}{'MB':>8}{'speed':>9}{'memory':>9}")
    for name, found in rounds.items():
        print(f"{name:26}{median(found):10.0f}{spread(found):8.2f}{megabytes(found):8.0f}{median(found) / median(plain):8.2f}x"
              f"{megabytes(found) / megabytes(plain):8.2f}x", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="small,large")
    parser.add_argument("--types", default="bf16,f32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--switches", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--add", action="store_true", help="to the rounds that the file of --json holds")
    args = parser.parse_args()
    if args.add and not args.json:
        parser.error("--add needs --json FILE: the file with the earlier rounds")
    earlier = json.loads(args.json.read_text()) if args.add and args.json.exists() else {}
    common = ["--steps", args.steps, "--threads", args.threads, "--sequences", args.sequences]
    report = dict(earlier)
    if args.switches:
        title = f"switches, {args.sequences} sequences"
        rounds = earlier.get(title, {name: [] for name in SWITCHES})
        for _ in range(args.rounds):
            for name, options in SWITCHES.items():
                rounds[name].append(moebox(common + options))
        print_switches(rounds)
        report[title] = rounds
    else:
        for model in args.models.split(","):
            for kind in args.types.split(","):
                title = f"{model}, {kind}"
                rounds = earlier.get(title, {name: [] for name in ["moebox", *PEERS]})
                options = common + ["--model", model, "--type", kind]
                for _ in range(args.rounds):
                    rounds["moebox"].append(moebox(options))
                    for name, (more, environment) in PEERS.items():
                        rounds[name].append(run([sys.executable, HERE / "transformers_step.py"] + options + more, environment))
                print_table(title, rounds)
                report[title] = rounds
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
