#!/usr/bin/env python3
"""Writes greedy.json: the token ids that llama.cpp chooses on models that moebox converted.

    make_golden.py MOEBOX        the program, built; needs llama-cpp-python==0.3.36

For each case: the folder of tests/golden, the type, flags and numbers of the file that were changed after the conversion, a prompt of random ids, and
24 greedy ids by llama.cpp on one thread, with the smallest gap between the two best logits on the way: prompts are drawn until it is above
rounding.
Left out: olmoe, whose tiny model shares key heads (llama.cpp's norm of keys is as wide as that of queries), and tiny-v2: llama.cpp scores groups by the sum of their two best experts in every model, V2 by the best.
"""
import ctypes
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import llama_cpp
import numpy

HERE = pathlib.Path(__file__).resolve().parent
CASES = [(folder, "F32", {}) for folder in (  # llama.cpp rounds activations to the weights' type: other types say nothing of the file
    "deepseek/models/tiny-v2-lite", "deepseek/models/tiny-v3", "deepseek/models/tiny-v3-yarn", "transformers/models/llama_bias",
    "transformers/models/llama_gqa", "transformers/models/llama_linear", "transformers/models/llama_llama3", "transformers/models/llama_mha",
    "transformers/models/llama_yarn", "transformers/models/llama_yarn_attention_factor", "transformers/models/qwen2_tied",
    "transformers/models/qwen2_untied_yarn", "moe/models/mixtral", "moe/models/qwen3", "moe/models/qwen3moe", "moe/models/deepseek_v2_two_dense",
    "moe/models/deepseek_v3_no_dense")]
CASES.append(("moe/models/deepseek_v2_two_dense", "F32", {"deepseek2.expert_weights_norm": True}))
CASES.append(("deepseek/models/tiny-v3", "F32", {"deepseek2.expert_gating_func": 1}))  # what llama.cpp takes where a file of V3 says nothing


def greedy(path, prompt, n, rope, changes):
    parameters = llama_cpp.llama_model_default_params()
    changed = (llama_cpp.llama_model_kv_override * (len(changes) + 1))()  # the last one's key is empty: the end
    for entry, (key, value) in zip(changed, changes.items()):
        entry.key = key.encode()
        if isinstance(value, bool):
            entry.tag, entry.value.val_bool = 2, value
        else:
            entry.tag, entry.value.val_i64 = 0, value
    parameters.kv_overrides = changed
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    assert model, path
    options = llama_cpp.llama_context_default_params()
    options.n_ctx, options.n_threads, options.n_threads_batch = 256, 1, 1
    options.type_k = options.type_v = 0  # F32
    options.flash_attn_type = 0
    # llama.cpp takes these from its caller, whatever a Llama's file says.
    options.yarn_beta_fast, options.yarn_beta_slow = rope.get("beta_fast", 32.0), rope.get("beta_slow", 1.0)
    context = llama_cpp.llama_init_from_model(model, options)
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    ids, smallest, feed = [], float("inf"), list(prompt)
    for _ in range(n):
        tokens = (llama_cpp.llama_token * len(feed))(*feed)
        assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(feed))) == 0
        logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), (n_vocab,))
        order = numpy.argsort(logits)
        smallest = min(smallest, float(logits[order[-1]] - logits[order[-2]]))
        feed = [int(order[-1])]
        ids += feed
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return ids, smallest


def main():
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p())
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (model, type_, changes) in enumerate(CASES):
            path = pathlib.Path(folder) / f"{number}.gguf"
            subprocess.run([sys.argv[1], "convert", HERE.parent / model, path, "--type", type_], check=True, stderr=subprocess.DEVNULL)
            config = json.loads((HERE.parent / model / "config.json").read_text())
            vocab, rope = config["vocab_size"], config.get("rope_parameters") or config.get("rope_scaling") or {}
            for seed in range(100 * number, 100 * number + 100):  # until the answer is one that rounding cannot change
                prompt = random.Random(seed).choices(range(vocab), k=20)
                ids, gap = greedy(path, prompt, 24, rope, changes)
                if gap > 5e-3 and len(set(ids)) > 3:
                    break
            print(f"{model:50} {type_:5} smallest gap {gap:.2e}  {ids[:6]}", flush=True)
            cases.append({"model": model, "type": type_, "changes": changes, "prompt": prompt, "greedy": ids, "smallest_gap": gap})
    text = ",\n".join(json.dumps(case) for case in cases)
    (HERE / "greedy.json").write_text(f"[\n{text}\n]\n")


main()
