#!/usr/bin/env python3
"""Writes recipes.json: which type llama.cpp's quantiser gives to every tensor of a few models, for every recipe.

    make_recipes.py              needs llama-cpp-python==0.3.36 and gguf==0.19.0

The models have the shapes that the rules ask for (layers, heads, experts, whole blocks) and weights of no meaning.
"""
import ctypes
import json
import pathlib
import tempfile

import gguf
import llama_cpp
import numpy

HERE = pathlib.Path(__file__).resolve().parent
RECIPES = {"Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_1": 9, "Q5_0": 8, "Q4_K_M": 15, "Q4_K_S": 14, "Q4_1": 3, "Q4_0": 2,
           "IQ4_NL": 25, "Q3_K_L": 13, "Q3_K_M": 12, "Q3_K_S": 11, "Q2_K": 10, "MXFP4_MOE": 38}


def dense(n_layers, kv, ffn, columns=256):
    tensors = {"token_embd.weight": (64, columns), "output_norm.weight": (columns,), "output.weight": (64, columns)}
    for i in range(n_layers):
        tensors |= {f"blk.{i}.attn_norm.weight": (columns,), f"blk.{i}.attn_q.weight": (columns, columns),
                    f"blk.{i}.attn_k.weight": (kv, columns), f"blk.{i}.attn_v.weight": (kv, columns), f"blk.{i}.attn_q.bias": (columns,),
                    f"blk.{i}.attn_output.weight": (columns, columns), f"blk.{i}.ffn_norm.weight": (columns,),
                    f"blk.{i}.ffn_gate.weight": (ffn, columns), f"blk.{i}.ffn_up.weight": (ffn, columns),
                    f"blk.{i}.ffn_down.weight": (columns, ffn)}
    return tensors


def with_experts(tensors, n_layers, n_experts, ffn, first=0, columns=256):
    for i in range(first, n_layers):
        for part in ("gate", "up", "down"):
            del tensors[f"blk.{i}.ffn_{part}.weight"]
            tensors[f"blk.{i}.ffn_{part}_exps.weight"] = (n_experts, *((columns, ffn) if part == "down" else (ffn, columns)))
        tensors[f"blk.{i}.ffn_gate_inp.weight"] = (n_experts, columns)
    return tensors


def deepseek():
    tensors = with_experts(dense(9, 256, 512), 9, 16, 256, first=1)
    for i in range(9):
        for part in ("attn_q", "attn_k", "attn_v"):
            del tensors[f"blk.{i}.{part}.weight"]
        del tensors[f"blk.{i}.attn_q.bias"]
        tensors |= {f"blk.{i}.attn_q.weight": (256, 256), f"blk.{i}.attn_kv_a_mqa.weight": (272, 256), f"blk.{i}.attn_kv_a_norm.weight": (256,),
                    f"blk.{i}.attn_k_b.weight": (4, 256, 64), f"blk.{i}.attn_v_b.weight": (4, 64, 256)}
        if i:
            tensors |= {f"blk.{i}.exp_probs_b.bias": (16,), f"blk.{i}.ffn_down_shexp.weight": (256, 256),
                        f"blk.{i}.ffn_up_shexp.weight": (256, 256)}
    return tensors


def tied(tensors):
    del tensors["output.weight"]
    return tensors


MODELS = {  # name: architecture, layers, heads, key heads, experts, tensors
    "llama of 20 layers": ("llama", 20, 8, 8, 0, dense(20, 256, 512)),
    "qwen2, tied, key heads shared by 4": ("qwen2", 10, 8, 2, 0, tied(dense(10, 64, 512))),
    "mixtral of 8 experts": ("llama", 9, 8, 4, 8, with_experts(dense(9, 128, 512), 9, 8, 512)),
    "qwen3moe of 16 experts": ("qwen3moe", 9, 8, 4, 16, with_experts(dense(9, 128, 512), 9, 16, 256)),
    "rows that are no multiple of 256": ("llama", 9, 4, 4, 0, dense(9, 96, 160, 96)),
    "deepseek2": ("deepseek2", 9, 4, 4, 16, deepseek()),
}


def write_model(path, architecture, n_layers, n_heads, n_kv_heads, n_experts, tensors):
    writer = gguf.GGUFWriter(path, architecture)
    columns = tensors["token_embd.weight"][1]
    writer.add_block_count(n_layers)
    writer.add_context_length(128)
    writer.add_embedding_length(columns)
    writer.add_feed_forward_length(512)
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(n_kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(64)
    if n_experts:
        writer.add_expert_count(n_experts)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(256)
    if architecture == "deepseek2":
        writer.add_leading_dense_block_count(1)
        writer.add_q_lora_rank(64)
        writer.add_kv_lora_rank(256)
        writer.add_key_length_mla(80)
        writer.add_value_length_mla(64)
        writer.add_expert_shared_count(1)
        writer.add_expert_weights_scale(1.0)
        writer.add_rope_dimension_count(16)
    writer.add_tokenizer_model("no_vocab")
    random = numpy.random.default_rng(0)
    for name, shape in tensors.items():
        writer.add_tensor(name, random.standard_normal(shape).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p())
    found = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder) / "in.gguf", pathlib.Path(folder) / "out.gguf"
        for name, (architecture, n_layers, n_heads, n_kv_heads, n_experts, tensors) in MODELS.items():
            write_model(source, architecture, n_layers, n_heads, n_kv_heads, n_experts, tensors)
            types, letters = {}, {}  # a letter a tensor, in the order of "tensors"
            for recipe, number in RECIPES.items():
                options = llama_cpp.llama_model_quantize_default_params()
                options.ftype, options.nthread = number, 2
                code = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(options))
                if code:
                    print(f"{name}: {recipe}: llama.cpp refuses")
                    continue
                given = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(target).tensors}
                types[recipe] = "".join(letters.setdefault(given[tensor], chr(97 + len(letters))) for tensor in tensors)
            found.append({"name": name, "architecture": architecture, "n_layers": n_layers, "n_heads": n_heads, "n_kv_heads": n_kv_heads,
                          "n_experts": n_experts, "letters": {letter: type_ for type_, letter in letters.items()}, "tensors": list(tensors.items()), "types": types})
            print(name, len(types), flush=True)
    (HERE / "recipes.json").write_text("[\n" + ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in found) + "\n]\n")


main()
