#!/usr/bin/env python3
"""Makes the golden data of tests/report: a run's log whose chain Python's hashlib made, and what TensorBoard reads in our event files.

  make_golden.py PROGRAM

PROGRAM is moebox. Writes beside itself train.log.jsonl; events/, which `moebox report --tensorboard` makes of it; and events.json and
resumed.json, which TensorBoard's own EventAccumulator reads in events/ and resumed/. The files of resumed/ are what the test
Tensorboard.AResumedRunReplacesWhatItDoesAgain writes where they are missing: run it first.
Needs: tensorboard==2.21.0
"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

HERE = pathlib.Path(__file__).resolve().parent
LAST_WRITTEN = 1_700_000_000

HEAD = {"moebox_train": 1, "architecture": "deepseek_v3", "parameters": 1000, "active_parameters": 600, "config": {"hidden_size": 8},
        "data": "0" * 64, "steps": 8, "sequences": 2, "learning_rate": 0.001}
VOLATILE = ("seconds", "resident_bytes", "peak_bytes")


def step_line(step):
    bad = step == 5
    line = {"step": step, "tokens": 256, "targets": 250, "loss": None if bad else 7.5 / step, "cross_entropy": None if bad else 7.25 / step,
            "gradient_norm": None if bad else 1.0 + 0.125 * step, "learning_rate": 0.0005 * step}
    if bad:
        line["skipped"] = True
    line["further"] = [8.5 / step]
    line["balance"] = 1.0 + 0.0625 * step
    line["z"] = 4.5
    line["load"] = {"1": [64 * step, 32, 32, 0], "2": [64, 64, 64, 64]}
    line["rows"] = hashlib.blake2b(str(step).encode(), digest_size=32).hexdigest()
    if step == 6:
        line["left_out"] = 2
    line["seconds"] = 0.5
    if step > 2:
        line["resident_bytes"] = 1 << 30
        line["peak_bytes"] = (1 << 30) + (step << 20)
    return line


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def log_text():
    link, lines = "", []
    for line in [HEAD, *map(step_line, range(1, 9))]:
        content = {key: value for key, value in line.items() if key not in VOLATILE}
        link = hashlib.blake2b((link + compact(content)).encode(), digest_size=32).hexdigest()
        lines.append(compact({**line, "chain": link}))
    return "\n".join(lines) + "\n"


def read_by_tensorboard(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [[event.wall_time, event.step, event.value] for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def write_json(name, value):
    rows = ",\n".join(f" {json.dumps(tag)}: {json.dumps(points)}" for tag, points in value.items())
    (HERE / name).write_text("{\n" + rows + "\n}\n")


def main():
    program = os.path.abspath(sys.argv[1])
    log = HERE / "train.log.jsonl"
    log.write_text(log_text())
    shutil.rmtree(HERE / "events", ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "train.log.jsonl"
        shutil.copy(log, copy)
        os.utime(copy, (LAST_WRITTEN, LAST_WRITTEN))
        subprocess.run([program, "report", folder, "--tensorboard", str(HERE / "events")], check=True)
    write_json("events.json", read_by_tensorboard(HERE / "events"))
    write_json("resumed.json", read_by_tensorboard(HERE / "resumed"))


main()
