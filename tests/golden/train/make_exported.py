#!/usr/bin/env python3
"""Writes what transformers computes for the folders that the trainer exports.

  make_exported.py TEST_TRAIN     the built program tests/train/test_train

Needs torch==2.11.0 transformers==5.23.0 safetensors numpy xxhash. The program exports the models of models/ as float32; the digests of
the exported files go with the logits, so that a test that finds the same bytes knows what transformers said of them.

exported.json            by model: digests (XXH64) of config.json and model.safetensors, token ids, tolerance
<model>.exported.npy     (n_tokens, vocab_size) float32, computed in float64

The tolerance is four times the largest difference of float32 and float64, at least 2^-19 of the logits' root mean square.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import xxhash
from transformers import AutoModelForCausalLM

import make_golden as golden

HERE = pathlib.Path(__file__).resolve().parent
N_TOKENS = 24


@torch.inference_mode()
def run(name, folder, tokens, dtype):
    _, model_class, fields, _ = golden.SHAPES[name]
    model_class = model_class if "gate_attention" in fields else AutoModelForCausalLM
    model, info = model_class.from_pretrained(folder, attn_implementation="eager", experts_implementation="eager", dtype=dtype,
                                              output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    unexpected = [key for key in info["unexpected_keys"] if not name.endswith("_mtp")]
    assert not unexpected, unexpected
    return model.eval()(torch.tensor([tokens]), use_cache=False).logits[0].double().numpy()


def main():
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.argv[1], "--gtest_filter=*IsWhatTransformersRead*", "--gtest_brief=1"], env={**os.environ, "MOEBOX_EXPORT_TO": out},
                       stdout=subprocess.DEVNULL)  # it fails where the golden files are old
        entries = {}
        for name in golden.SHAPES:
            folder = pathlib.Path(out) / name
            tokens = numpy.random.default_rng(11).integers(0, golden.COMMON["vocab_size"], N_TOKENS).tolist()
            logits = run(name, folder, tokens, torch.float32)
            with golden.deepseek.double_precision(*golden.MODULES):
                exact = run(name, folder, tokens, torch.float64)
            floor = 2.0 ** -19 * float(numpy.sqrt((exact ** 2).mean()))
            numpy.save(HERE / f"{name}.exported.npy", exact.astype(numpy.float32))
            entries[name] = {"tokens": tokens, "tolerance": max(4 * float(numpy.abs(logits - exact).max()), floor)}
            for file in ("config.json", "model.safetensors"):
                entries[name][file] = xxhash.xxh64((folder / file).read_bytes()).hexdigest()
    (HERE / "exported.json").write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items()) + "\n}\n")


if __name__ == "__main__":
    main()
