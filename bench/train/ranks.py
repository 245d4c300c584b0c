#!/usr/bin/env python3
"""What unequal shares gain when one of two training processes is slow: steps a second with parallel.balance and without, in turns.

    python3 bench/train/ranks.py --moebox build/release/moebox RECIPE.toml [--rounds 3] [--stopped 0.6]

The recipe is any that trains here in some seconds (its output folder is replaced). Of every 20 ms the second process is stopped for the given share.
"""
import argparse
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import tempfile
import threading
import time

PERIOD = 0.02


def children(process):
    return [int(child) for child in pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def slow_down(process, stopped, done):
    while not done.is_set():
        try:
            os.kill(process, signal.SIGSTOP)
            time.sleep(PERIOD * stopped)
            os.kill(process, signal.SIGCONT)
        except ProcessLookupError:
            return
        time.sleep(PERIOD * (1 - stopped))


def measure(program, recipe, stopped, balance):
    """(seconds of the median step of the second half, shares in the end)"""
    with tempfile.TemporaryDirectory(dir=recipe.parent) as folder:
        text = re.sub(r"(?m)^\[output\][^\[]*", "", recipe.read_text())
        text = re.sub(r"(?m)^\[parallel\][^\[]*", "", text)
        text += f'\n[parallel]\nbalance = {str(balance).lower()}\n[output]\nfolder = "{pathlib.Path(folder).name}/run"\n'
        ours = recipe.parent / f"{pathlib.Path(folder).name}.toml"
        ours.write_text(text)
        try:
            launcher = subprocess.Popen([program, "train", ours, "--devices", "0,1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            while len(children(launcher.pid)) < 2:
                time.sleep(0.05)
            done = threading.Event()
            slower = threading.Thread(target=slow_down, args=(children(launcher.pid)[1], stopped, done))
            slower.start()
            said = launcher.communicate()[1]
            done.set()
            slower.join()
            if launcher.returncode != 0:
                raise SystemExit(f"moebox train failed with {launcher.returncode}:\n{said}")
            lines = [json.loads(line) for line in (pathlib.Path(folder) / "run/train.log.jsonl").read_text().splitlines()[1:]]
            return statistics.median(line["seconds"] for line in lines[len(lines) // 2:]), lines[-1].get("shares")
        finally:
            ours.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=pathlib.Path)
    parser.add_argument("--moebox", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stopped", type=float, default=0.6)
    args = parser.parse_args()
    seconds = {False: [], True: []}
    for _ in range(args.rounds):
        for balance, found in seconds.items():
            step, shares = measure(args.moebox, args.recipe.resolve(), args.stopped, balance)
            found.append(step)
            print(f"{'balanced' if balance else 'even':9}{1e3 * step:9.1f} ms a step" + (f", shares {shares}" if shares else ""), flush=True)
    even, balanced = (statistics.median(found) for found in seconds.values())
    print(f"median: {1e3 * even:.1f} ms even, {1e3 * balanced:.1f} ms balanced: {even / balanced:.2f} times as fast")


if __name__ == "__main__":
    main()
