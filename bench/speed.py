#!/usr/bin/env python3
"""Speeds of models on this machine beside what its memory and its multipliers allow and, with --peer, beside llama.cpp's, taken in turns, so that a busy or
throttled machine hurts both.

    python3 bench/speed.py --moebox build/release/moebox MODEL.gguf ... [--threads 1,2] [--rounds 5] [--json FILE [--add]]
    python3 -m venv build/peers && build/peers/bin/pip install -r bench/peers/requirements.txt
    build/peers/bin/python bench/speed.py --peer --moebox build/release/moebox MODEL.gguf ...

A round is one process of moebox and one of llama.cpp: load, warm up, prefill 512, decode 128, and 1, 8 and 32 streams of 48 tokens; with
--long a second one for each that prefills 4,096 tokens and decodes 64 after 4,000, where the model's context holds them. The table has the medians of the rounds, their
ratio (above 1: moebox is faster), and the spread (largest over smallest) of the ratio's
two sides, which says how much to believe. llama.cpp runs with and without flash attention; the better median counts for it.
With --add the rounds join those that FILE holds: for a machine that is quiet for some minutes at a time.
Says beforehand how busy the machine is, and in the end how much of the time something else ran on it.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def cpu_seconds():
    """(busy, stolen) seconds of all processors since boot."""
    fields = [int(f) for f in open("/proc/stat").readline().split()[1:9]]
    user, nice, system, idle, iowait, irq, softirq, steal = fields
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, steal / tick


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


LONG = {"prefill": 4096, "decode": 64, "after": 4000, "streams": "0"}
LIMITS = {"read_bytes_per_second": ("reads", 1e9, "GB/s"), "int8_operations_per_second": ("int8", 1e9, "GOP/s"),
          "float_operations_per_second": ("f32", 1e9, "GFLOP/s")}


SHARES = ["decode_share_of_read", "prefill_share_of_int8"]


def flatten(work, result):
    decode = f"decode {work['decode']}" + (f" at {work['after']}" if work["after"] > 1 else "")
    speeds = {f"prefill {work['prefill']}": result["prefill_tokens_per_second"], decode: result["decode_tokens_per_second"]}
    for n, value in result["streams_tokens_per_second"].items():
        speeds[f"{n} stream" + ("s" if n != "1" else "")] = value
    return speeds


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def options(work, threads):
    return ["--threads", str(threads)] + [text for name, value in work.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def run_moebox(program, model, threads, works):
    """(speeds, {limit: most of the runs, and the share of reading that one answer reached})"""
    speeds, limits = {}, {}
    for work in works:
        row = run_json([program, "bench", model, "--repeat", "1", "--json"] + options(work, threads))["rows"][0]
        speeds |= flatten(work, row)
        limits |= {name: max(limits.get(name, 0), row[name]) for name in LIMITS}
        for share in SHARES:  # of the first work: short contexts
            limits.setdefault(share, row[share])
    return speeds, limits


def context_length(program, model):
    return run_json([program, "show", model, "--json"])["memory"]["context_tokens_trained"]


def run_llama(model, threads, works, flash_attention):
    speeds = {}
    for work in works:
        command = [sys.executable, HERE / "peers" / "llama_bench.py", model] + options(work, threads)
        speeds |= flatten(work, run_json(command + ["--flash-attention"] * flash_attention))
    return speeds


def spread(values):
    return max(values) / min(values)


def compare(moebox, peers):
    """One row a measurement: medians, ratio and spreads."""
    rows = []
    for name in moebox[0]:
        ours = [r[name] for r in moebox]
        row = {"measurement": name, "moebox": statistics.median(ours), "moebox_spread": spread(ours), "moebox_rounds": ours}
        variants = {variant: [r[name] for r in rounds] for variant, rounds in peers.items()}
        if not variants:
            rows.append(row)
            continue
        best = max(variants, key=lambda v: statistics.median(variants[v]))
        theirs = variants[best]
        rows.append(row | {"llama_cpp": statistics.median(theirs), "llama_cpp_variant": best, "ratio": row["moebox"] / statistics.median(theirs),
                           "llama_cpp_spread": spread(theirs), "llama_cpp_rounds": variants})
    return rows


def earlier_rounds(path):
    """{(model, threads): (moebox's rounds, {variant: llama.cpp's rounds}, limits)}: what a report was made of."""
    found = {}
    for table in json.loads(path.read_text())["tables"]:
        rows = table["rows"]
        rounds = range(table["rounds"])
        moebox = [{row["measurement"]: row["moebox_rounds"][i] for row in rows} for i in rounds]
        peers = {variant: [{row["measurement"]: row["llama_cpp_rounds"][variant][i] for row in rows} for i in rounds]
                 for variant in rows[0].get("llama_cpp_rounds", {})}
        found[table["model"], table["threads"]] = moebox, peers, table.get("limits", [])
    return found


def print_rows(model, threads, rows, limits):
    rounds = len(rows[0]["moebox_rounds"])
    peer = "ratio" in rows[0]
    print(f"\n{model.name}, {threads} thread{'s' * (threads > 1)} (tokens a second, medians of {rounds})")
    print(f"{'':18}{'moebox':>10}" + (f"{'llama.cpp':>11}{'ratio':>8}" if peer else "") + f"{'spread':>{15 if peer else 8}}")
    for r in rows:
        theirs = f"{r['llama_cpp']:11.1f}{r['ratio']:8.2f}" if peer else ""
        their_spread = f"{r['llama_cpp_spread']:7.2f}  {r['llama_cpp_variant']}" if peer else ""
        print(f"{r['measurement']:18}{r['moebox']:10.1f}{theirs}{r['moebox_spread']:8.2f}{their_spread}")
    best = {name: max(found[name] for found in limits) for name in LIMITS}
    decode, prefill = (statistics.median(found[share] for found in limits) for share in SHARES)
    print("this machine: " + ", ".join(f"{name} {best[key] / unit:.0f} {text}" for key, (name, unit, text) in LIMITS.items()) +
          f"; one answer reads the weights at {decode:.0%} of the memory's speed, "
          f"a prompt's products are {prefill:.0%} of the int8 limit", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--moebox", type=pathlib.Path, default=HERE.parent / "build" / "release" / "moebox")
    parser.add_argument("--peer", action="store_true", help="llama.cpp, too")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--add", action="store_true", help="to the rounds that the file of --json holds")
    parser.add_argument("--flash-attention", choices=["both", "off", "on"], default="both", help="of llama.cpp")
    parser.add_argument("--long", action="store_true", help="a prompt of 4,096 tokens and an answer after 4,000, too")
    parser.add_argument("--only-long", action="store_true", help="that alone")
    parser.add_argument("--decode", type=int, default=128, help="tokens of the single answer [128]")
    parser.add_argument("--streams", default="1,8,32")
    parser.add_argument("--stream-prompt", type=int, default=16)
    parser.add_argument("--stream-tokens", type=int, default=48)
    args = parser.parse_args()
    usual = {"prefill": 512, "decode": args.decode, "after": 1, "streams": args.streams, "stream_prompt": args.stream_prompt,
             "stream_tokens": args.stream_tokens}
    variants = ["plain"] * (args.flash_attention != "on") + ["flash attention"] * (args.flash_attention != "off")
    if not args.peer:
        variants = []
    if args.add and not args.json:
        parser.error("--add needs --json FILE: the file with the earlier rounds")

    earlier = earlier_rounds(args.json) if args.add and args.json.exists() else {}
    report = {"processor": processor(), "processors": os.cpu_count(), "load_before": os.getloadavg(), "tables": []}
    print(f"{report['processor']}, {report['processors']} processors; load average before: {report['load_before'][0]:.2f}"
          + (" (busy: trust only the ratios)" if report["load_before"][0] > 0.5 else ""), flush=True)
    busy, stolen = cpu_seconds()
    for model in args.models:
        works = [usual] * (not args.only_long)
        if (args.long or args.only_long) and context_length(args.moebox, model) > LONG["prefill"]:
            works.append(LONG)
        if not works:
            parser.error(f"{model}: its context is too short for --only-long")
        for threads in map(int, args.threads.split(",")):
            moebox, peers, limits = earlier.pop((model.name, threads), ([], {variant: [] for variant in variants}, []))
            if list(peers) != variants:
                parser.error(f"the earlier rounds are with {' and '.join(peers) or 'no peer'}")
            for _ in range(args.rounds):
                speeds, found = run_moebox(args.moebox, model, threads, works)
                moebox.append(speeds)
                limits.append(found)
                for variant, rounds in peers.items():
                    rounds.append(run_llama(model, threads, works, variant == "flash attention"))
            rows = compare(moebox, peers)
            print_rows(model, threads, rows, limits)
            report["tables"].append({"model": model.name, "threads": threads, "rounds": len(moebox), "limits": limits, "rows": rows})
    for (name, threads), (moebox, peers, limits) in earlier.items():
        report["tables"].append({"model": name, "threads": threads, "rounds": len(moebox), "limits": limits, "rows": compare(moebox, peers)})
    total, total_stolen = cpu_seconds()
    children = sum(os.times()[2:4])
    report["others_cpu_seconds"] = max(0.0, total - busy - children)
    report["stolen_cpu_seconds"] = total_stolen - stolen
    report["load_after"] = os.getloadavg()
    print(f"\nProcessor time: {children:.0f} s here, {report['others_cpu_seconds']:.0f} s other programs, "
          f"{report['stolen_cpu_seconds']:.0f} s taken by the host; load average after: {report['load_after'][0]:.2f}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
