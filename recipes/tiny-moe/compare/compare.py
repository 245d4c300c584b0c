#!/usr/bin/env python3
"""A mixture of experts beside a dense model of equal active size and one of equal total size: one recipe, the same tokens in the same order, a reduced width.

    python3 recipes/tiny-moe/compare/compare.py --moebox build/release/moebox [--work build/tiny-moe] [--steps 700] [--out FILE.json]

It needs the texts, the tokenizer and the data that `make recipe-tiny-moe` made. Models that are trained already are read. Held-out loss is that of
pages that no model has seen, as `moebox perplexity` measures it, in nats a token; time to a loss counts the steps' seconds until the mean of fifty steps is below
the dense model's last fifty.
"""
import argparse
import json
import math
import pathlib
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
MODELS = ("moe", "dense_active", "dense_total")
SMOOTHED = 50     # steps
RECIPE = """products = "bf16"
[model]
config = "{config}"
seed = 1
tokenizer = "{work}/tokenizer"
[data]
folder = "{work}/data"
sequence_tokens = 512
sequences = 8
{balance}[optimizer]
kind = "muon"
learning_rate = 2e-3
[schedule]
kind = "wsd"
steps = {steps}
warmup_steps = 30
decay_steps = {decay}
final_fraction = 0.02
[checkpoint]
every_minutes = 0
[output]
folder = "{folder}"
gguf = "F16"
"""
BALANCE = "[loss]\nbias_rate = 0.01\nbalance = 0.0001\n"     # of the one with gates


def run(*command):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed with {done.returncode}")
    return done.stdout


def train(options, name):
    folder = options.work / "compare" / name
    if not (folder / "model.gguf").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        recipe = folder.with_suffix(".toml")
        recipe.write_text(RECIPE.format(config=HERE / f"{name}.json", work=options.work, folder=folder, balance=BALANCE if name == "moe" else "", steps=options.steps,
                                        decay=options.steps // 4), encoding="utf-8")
        run(options.moebox, "train", recipe)
    lines = [json.loads(line) for line in (folder / "train.log.jsonl").open(encoding="utf-8")]
    return folder, lines[0], [line for line in lines[1:] if "loss" in line]


def smoothed(steps):
    losses = [step["cross_entropy"] for step in steps]
    return [sum(losses[max(0, at + 1 - SMOOTHED):at + 1]) / min(at + 1, SMOOTHED) for at in range(len(losses))]


def seconds_to(steps, loss):
    """Of training, until the smoothed loss is at most `loss`; nothing where it never is."""
    seconds = 0.0
    for step, mean in zip(steps, smoothed(steps)):
        seconds += step["seconds"]
        if mean <= loss:
            return seconds
    return None


def held_out(options, folder):
    """Nats a token, over both languages."""
    nats = tokens = 0
    for language in ("en", "zh"):
        found = json.loads(run(options.moebox, "perplexity", folder / "model.gguf", options.work / "texts" / f"held_out.{language}.txt", "--json"))
        nats += math.log(found["perplexity"]) * found["scored_tokens"]
        tokens += found["scored_tokens"]
    return nats / tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moebox", default="build/release/moebox")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/tiny-moe"))
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    options.work = options.work.resolve()
    result = {}
    runs = {}
    for name in MODELS:
        folder, head, runs[name] = train(options, name)
        seconds = sum(step["seconds"] for step in runs[name])
        result[name] = {"parameters": head["parameters"], "multiply_adds_per_token": head["active_parameters"], "tokens": sum(step["tokens"] for step in runs[name]),
                        "seconds": seconds, "train_loss": smoothed(runs[name])[-1], "held_out_loss": held_out(options, folder)}
    target = result["dense_active"]["train_loss"]
    for name in MODELS:
        result[name]["seconds_to_the_loss_of_dense_active"] = seconds_to(runs[name], target)
    print("| model | weights | multiply-adds a token | training loss | held-out loss | seconds | seconds to the loss of dense_active |\n|---|---|---|---|---|---|---|")
    for name, one in result.items():
        reached = one["seconds_to_the_loss_of_dense_active"]
        print(f"| {name} | {one['parameters'] / 1e6:.2f}M | {one['multiply_adds_per_token'] / 1e6:.2f}M | {one['train_loss']:.3f} | {one['held_out_loss']:.3f} "
              f"| {one['seconds']:.0f} | {'never' if reached is None else f'{reached:.0f}'} |")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
