#!/usr/bin/env python3
"""A model of which half fits into memory: moebox with --expert-cache beside llama.cpp with its memory map, both in a memory cgroup.

    moebox pack MODEL.gguf
    sudo build/peers/bin/python bench/larger_than_memory.py --moebox build/release/moebox MODEL.gguf [--cap 0.5] [--seconds 200] [--json FILE]

Needs the right to make a memory cgroup (version 1 or 2), and bench/peers/requirements.txt. Each round is one process of each, in turns:
warm-up, a prompt of 512 arbitrary tokens, then 32 tokens of decode. Before each process the model's pages are dropped from the page cache:
pages that another cgroup paid for would be read for nothing. Stops beginning rounds after --seconds. In the end the logits of a prompt, computed
under the cap, are compared with those computed without cap and cache, bit for bit.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

PEERS = pathlib.Path(__file__).resolve().parent / "peers"
PREFILL, DECODE = 512, 32


class Cgroup:
    """A memory cgroup of this process's making."""

    def __init__(self, limit_bytes):
        v1 = pathlib.Path("/sys/fs/cgroup/memory")
        self.path = (v1 if v1.is_dir() else pathlib.Path("/sys/fs/cgroup")) / f"moebox-bench-{os.getpid()}"
        self.path.mkdir()
        name = "memory.limit_in_bytes" if v1.is_dir() else "memory.max"
        (self.path / name).write_text(str(limit_bytes))

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        for _ in range(50):
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.1)


def drop_pages(*files):
    for file in files:
        fd = os.open(file, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def arbitrary(n, seed):
    return [(seed * 7919 + i * 104729 + i * i * 31) % 100000 + 100 for i in range(n)]


class Server:
    """moebox serve within a cgroup."""

    def __init__(self, args, cgroup):
        command = [args.moebox, "serve", f"m={args.model}", "--port", "0", "--load-at-start", "--threads", str(args.threads), "--context", "1024",
                   "--max-sequences", "4", "--expert-cache", str(args.cache), "--log-level", "info"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=cgroup.enter)
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if match := re.search(r"listening on (http://[\d.:]+)", line):
                self.url = match.group(1)
                break
        else:
            sys.exit("moebox did not listen:\n" + "".join(lines))
        while True:
            try:
                return urllib.request.urlopen(self.url + "/ready").close()
            except OSError:
                if self.process.poll() is not None:
                    sys.exit("moebox ended:\n" + "".join(lines) + self.process.stderr.read())
                time.sleep(0.05)

    def seconds(self, prompt, n_tokens):
        body = {"model": "m", "prompt": prompt, "max_tokens": n_tokens, "temperature": 0, "ignore_eos": True}
        begin = time.perf_counter()
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            usage = json.load(response)["usage"]
        assert usage["completion_tokens"] == n_tokens, usage
        return time.perf_counter() - begin

    def metrics(self):
        with urllib.request.urlopen(self.url + "/metrics") as response:
            text = response.read().decode()
        return {name: float(value) for name, value in re.findall(r"^moebox:expert_cache_(\w+)\{.*\} (\S+)", text, re.M)}

    def stop(self):
        self.process.terminate()
        self.process.communicate()


def run_moebox(args, cgroup, seed):
    drop_pages(args.model, args.model + ".moebox-pack")
    server = Server(args, cgroup)
    server.seconds(arbitrary(PREFILL, seed), 1)
    before = server.metrics()
    prefill = PREFILL / server.seconds(arbitrary(PREFILL, seed + 1), 1)
    middle = server.metrics()
    first = server.seconds(arbitrary(2, seed + 2), 1)
    decode = (DECODE - 1) / (server.seconds(arbitrary(2, seed + 3), DECODE) - first)
    after = server.metrics()
    server.stop()
    rate = lambda a, b: (b["hits_total"] - a["hits_total"]) / (b["hits_total"] + b["misses_total"] - a["hits_total"] - a["misses_total"])  # noqa: E731
    return {"prefill": prefill, "decode": decode, "prefill_hit_rate": rate(before, middle), "decode_hit_rate": rate(middle, after)}


def run_llama(args, cgroup, seed):
    """In this process's child: see below."""
    drop_pages(args.model)
    command = [sys.executable, __file__, args.model, "--moebox", args.moebox, "--threads", str(args.threads), "--llama", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=cgroup.enter, timeout=args.seconds)
    if done.returncode != 0:
        sys.exit(f"llama.cpp failed with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def llama_child(args):
    sys.path.insert(0, str(PEERS))
    from llama import LlamaCpp
    llama = LlamaCpp(args.model, args.threads, n_context=1024, map_only=True)  # its own layout would be killed for want of memory

    def prefill(seed):
        llama.clear()
        begin = time.perf_counter()
        llama.prefill(arbitrary(PREFILL, seed))
        return PREFILL / (time.perf_counter() - begin)

    prefill(args.llama)
    speed = prefill(args.llama + 1)
    llama.clear()
    tokens = arbitrary(DECODE + 1, args.llama + 3)
    llama.decode(tokens[:2], range(2), [0] * 2, [False, True])
    begin = time.perf_counter()
    for step in range(2, DECODE + 1):
        llama.decode([tokens[step]], [step], [0], [True])
        llama.logits(0)
    print(json.dumps({"prefill": speed, "decode": (DECODE - 1) / (time.perf_counter() - begin)}))


def same_bits(args, cgroup):
    outputs = []
    with tempfile.TemporaryDirectory() as folder:
        ids = ",".join(map(str, arbitrary(40, 5)))
        for options, enter in ((["--expert-cache", str(args.cache)], cgroup.enter), (["--pack-file", "off"], None)):
            out = os.path.join(folder, "logits.npy")
            subprocess.run([args.moebox, "logits", args.model, "--ids", ids, "--out", out, "--last", *options], check=True, stderr=subprocess.DEVNULL,
                           preexec_fn=enter)
            outputs.append(pathlib.Path(out).read_bytes())
    return outputs[0] == outputs[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--moebox", required=True)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cap", type=float, default=0.5, help="memory, as a share of the model's file")
    parser.add_argument("--beside", type=int, default=480, help="MiB of the cap that are left for all but the expert cache")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=200, help="no round begins after that")
    parser.add_argument("--skip-bits", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--llama", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.llama is not None:
        return llama_child(args)
    cap = int(os.path.getsize(args.model) * args.cap)
    args.cache = cap - (args.beside << 20)
    begin = time.monotonic()
    rounds = {"moebox": [], "llama.cpp": []}
    load = os.getloadavg()[0]
    cgroup = Cgroup(cap)
    try:
        for n in range(args.rounds):
            if n > 0 and (time.monotonic() - begin) * (n + 1) / n > args.seconds:
                break
            rounds["moebox"].append(run_moebox(args, cgroup, 10 * n))
            rounds["llama.cpp"].append(run_llama(args, cgroup, 10 * n))
            print(f"round {n + 1}: {rounds['moebox'][-1]} {rounds['llama.cpp'][-1]}", file=sys.stderr, flush=True)
        same = None if args.skip_bits else same_bits(args, cgroup)
    finally:
        cgroup.remove()
    print(f"{os.path.basename(args.model)}: cap {cap >> 20} MiB of {os.path.getsize(args.model) >> 20}, expert cache {args.cache >> 20} MiB, "
          f"{args.threads} threads, load before {load:.2f}, {len(rounds['moebox'])} rounds")
    medians = {who: {what: statistics.median(r[what] for r in found) for what in found[0]} for who, found in rounds.items()}
    for what in ("prefill", "decode"):
        mine, theirs = medians["moebox"][what], medians["llama.cpp"][what]
        print(f"{what:8}  moebox {mine:8.2f}  llama.cpp {theirs:8.2f} tokens/s  ratio {mine / theirs:.2f}  hits {medians['moebox'][what + '_hit_rate']:.0%}")
    print("bits as without cap and cache:", {True: "the same", False: "DIFFERENT", None: "not compared"}[same])
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"cap_bytes": cap, "cache_bytes": args.cache, "same_bits": same, "rounds": rounds}, indent=2) + "\n")
    return 0 if same is not False else 1


if __name__ == "__main__":
    sys.exit(main())
