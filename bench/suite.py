#!/usr/bin/env python3
"""Every benchmark, one after the other: their tables, the machine's limits, one JSON file, and the charts of README and docs/performance.md.

    make bench                                                      the two models of the catalogue
    make bench MODELS="a.gguf b.gguf"                               these files
    make bench-peers MODELS="a.gguf b.gguf"                         with llama.cpp in the same run (bench/peers/requirements.txt)
    python3 bench/suite.py --moebox build/release/moebox [--peers] [--out build/bench] [--only speed,start] [--rounds 5] MODEL...

Speed is measured of every model; what concerns a server under load, of the last one. A step that fails is told and does not stop the others; the exit
status is then 1. With --only, what report.json in the folder of --out holds of the other steps stays.
Quiet machine, please: half an hour for the two models, as much again for each of llama.cpp's two variants.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

import charts

HERE = pathlib.Path(__file__).resolve().parent


def steps(args):
    """(name, model or None, command without --json): in the order of running."""
    program, threads, rounds = str(args.moebox), str(args.threads), str(args.rounds)
    script = lambda name, *more: [sys.executable, str(HERE / name), "--moebox", program, *more]  # noqa: E731
    for model in args.models:
        yield "speed", model, script("speed.py", *["--peer"] * args.peers, "--threads", threads, "--rounds", rounds, "--long", str(model))
        yield "start", model, script("start.py", "--threads", threads, str(model))
    loaded = args.models[-1]
    for name in ("speculation", "agent_loop", "smoothness", "kv_store"):
        yield name, loaded, script(f"{name}.py", "--threads", threads, str(loaded))
    yield "kv_types", loaded, script("kv_types.py", "--threads", threads, *["--peer"] * args.peers, str(loaded))


def run(command, path):
    """What the step wrote; None when it failed."""
    path.unlink(missing_ok=True)
    done = subprocess.run([*command, "--json", str(path)])
    return json.loads(path.read_text()) if done.returncode == 0 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--moebox", type=pathlib.Path, required=True)
    parser.add_argument("--peers", action="store_true", help="measure llama.cpp, too")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "build" / "bench")
    parser.add_argument("--charts", type=pathlib.Path, help="folder of the charts [that of --out]")
    parser.add_argument("--only", help="steps, by name, separated by commas")
    args = parser.parse_args()
    missing = [str(path) for path in args.models if not path.exists()]
    if missing:
        parser.error(f"no such file: {', '.join(missing)}")
    only = args.only.split(",") if args.only else None
    known = {name for name, *_ in steps(args)}
    if only and not known.issuperset(only):
        parser.error(f"--only: expected some of {', '.join(sorted(known))}, found {args.only}")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "report.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    failed = []
    for name, model, command in steps(args):
        if only and name not in only:
            continue
        print(f"\n== {name}: {model.name}", flush=True)
        found = run(command, args.out / "step.json")
        if found is None:
            failed.append(f"{name} of {model.name}")
        else:
            report.setdefault(name, {})[model.stem] = found
            path.write_text(json.dumps(report, indent=1) + "\n")  # at once: a run that is stopped keeps what it has
    (args.out / "step.json").unlink(missing_ok=True)
    drawn = charts.draw(report, args.charts or args.out)
    print(f"\nfigures: {path}" + "".join(f"\nchart: {chart}" for chart in drawn))
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
