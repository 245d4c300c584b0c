#!/usr/bin/env python3
"""Writes the seeds of the fuzz target convert: tiny models of every kind, as folders and as GGUF, without the tensors' bytes.

  fuzz/make_convert_seeds.py       writes fuzz/corpus/convert/
"""
import json
import pathlib
import struct

import make_tokenizer_seeds as tokenizers

CORPUS = pathlib.Path(__file__).parent / "corpus" / "convert"
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_NL", "MXFP4_MOE"]
VOCAB, HIDDEN, INNER, HEADS, DIM, EXPERTS = 16, 32, 32, 2, 16, 2
DENSE = {"gate_proj": (INNER, HIDDEN), "up_proj": (INNER, HIDDEN), "down_proj": (HIDDEN, INNER)}
COMMON = {"vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": 1, "num_attention_heads": HEADS,
          "num_key_value_heads": HEADS, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}


def attention(bias=False, norm=0):
    for name, shape in (("q", (HEADS * DIM, HIDDEN)), ("k", (HEADS * DIM, HIDDEN)), ("v", (HEADS * DIM, HIDDEN)), ("o", (HIDDEN, HEADS * DIM))):
        yield f"self_attn.{name}_proj.weight", shape
        if bias and name != "o":
            yield f"self_attn.{name}_proj.bias", shape[:1]
    for name in ("q", "k") if norm else ():
        yield f"self_attn.{name}_norm.weight", (norm,)


def latent_attention():
    rank, nope, rope, value = 16, 8, 8, 8
    yield "self_attn.q_a_proj.weight", (rank, HIDDEN)
    yield "self_attn.q_a_layernorm.weight", (rank,)
    yield "self_attn.q_b_proj.weight", (HEADS * (nope + rope), rank)
    yield "self_attn.kv_a_proj_with_mqa.weight", (rank + rope, HIDDEN)
    yield "self_attn.kv_a_layernorm.weight", (rank,)
    yield "self_attn.kv_b_proj.weight", (HEADS * (nope + value), rank)
    yield "self_attn.o_proj.weight", (HIDDEN, HEADS * value)


def mlp(prefix="mlp"):
    return ((f"{prefix}.{name}.weight", shape) for name, shape in DENSE.items())


def experts(prefix, names=("gate_proj", "up_proj", "down_proj")):
    yield f"{prefix}.gate.weight", (EXPERTS, HIDDEN)
    for expert in range(EXPERTS):
        for name, shape in zip(names, DENSE.values()):
            yield f"{prefix}.experts.{expert}.{name}.weight", shape


def folder(layer, config, kind, dtype="BF16", tokenizer="", fp8=()):
    tensors = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "lm_head.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for name, shape in (("input_layernorm.weight", (HIDDEN,)), ("post_attention_layernorm.weight", (HIDDEN,)), *layer):
        tensors["model.layers.0." + name] = shape
    header, end = {}, 0

    def add(name, dtype, shape):
        nonlocal end
        size = {"F32": 4, "BF16": 2, "F8_E4M3": 1}[dtype]
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size

    for name, shape in tensors.items():
        quantised = any(part in name for part in fp8)
        add(name, "F8_E4M3" if quantised else dtype, shape)
        if quantised:
            add(name + "_scale_inv", "F32", [1, 1])
    return "\n====\n".join([json.dumps({"architectures": [kind]} | COMMON | config), tokenizer, json.dumps(header)]).encode()


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(pairs, tensors):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    for key, value in pairs.items():
        out += text(key)
        out += struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)
    offset = 0
    for name, (shape, type_, size) in tensors.items():
        out += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape)) + struct.pack("<IQ", type_, offset)
        offset += (size + 31) // 32 * 32
    return out


def seeds():
    json_tokenizers = dict(tokenizers.json_seeds())
    moe = {"num_experts": EXPERTS, "num_local_experts": EXPERTS, "num_experts_per_tok": 1, "moe_intermediate_size": INNER}
    yield "llama", "F32", folder([*attention(), *mlp()], {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                                           "original_max_position_embeddings": 32}}, "LlamaForCausalLM")
    yield "qwen2", "Q4_0", folder([*attention(bias=True), *mlp()], {}, "Qwen2ForCausalLM")
    yield "qwen3moe", "Q8_0", folder([*attention(norm=DIM), *experts("mlp")], moe | {"head_dim": DIM, "norm_topk_prob": True}, "Qwen3MoeForCausalLM")
    yield "mixtral", "Q4_K_M", folder([*attention(), *experts("block_sparse_moe", ("w1", "w3", "w2"))], moe, "MixtralForCausalLM")
    deepseek = {"n_routed_experts": EXPERTS, "num_experts_per_tok": 1, "moe_intermediate_size": INNER, "n_shared_experts": 1, "first_k_dense_replace": 0, "kv_lora_rank": 16,
                "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "n_group": 1, "topk_group": 1}
    layer = [*latent_attention(), *experts("mlp"), *mlp("mlp.shared_experts")]
    v3 = ("mlp.gate.e_score_correction_bias", (EXPERTS,))
    yield "deepseek_v2", "Q5_K_M", folder(layer, deepseek, "DeepseekV2ForCausalLM")
    yield "deepseek_v3", "Q6_K", folder([*layer, v3], deepseek | {"rope_interleave": False}, "DeepseekV3ForCausalLM")
    yield "deepseek_fp8", "BF16", folder([*layer, v3], deepseek | {"quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}},
                                         "DeepseekV3ForCausalLM", fp8=("kv_b_proj", "experts.0.up"))
    tiny = [*attention(), *mlp()]
    unigram = json_tokenizers["unigram"]
    words = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": False}
    json_tokenizers["convertible"] = unigram | {"normalizer": None, "pre_tokenizer": words}  # as SentencePiece could say it
    for name in ("fallback", "unigram", "convertible"):
        tokenizer = json_tokenizers[name]
        rows = 272 if name == "fallback" else VOCAB
        yield "tokenizer_" + name, "F16", with_rows(rows, lambda: folder(tiny, {"vocab_size": rows}, "LlamaForCausalLM", tokenizer=json.dumps(tokenizer, ensure_ascii=False)))
    matrix = HIDDEN * HIDDEN * 4
    common = {"general.architecture": "llama", "llama.block_count": 1, "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": 1,
              "llama.attention.layer_norm_rms_epsilon": 1e-5}
    yield "gguf", "Q4_K_S", gguf(common, {"token_embd.weight": ((VOCAB, HIDDEN), 0, VOCAB * HIDDEN * 4), "blk.0.attn_v.weight": ((HIDDEN, HIDDEN), 0, matrix),
                                          "blk.0.ffn_down.weight": ((HIDDEN, 256), 12, HIDDEN * 144), "blk.0.attn_norm.weight": ((HIDDEN,), 0, HIDDEN * 4)})
    yield "gguf_experts_apart", "Q8_0", gguf(common | {"llama.expert_count": EXPERTS}, {
        f"blk.0.ffn_{part}.{expert}.weight": ((HIDDEN, HIDDEN), 8, HIDDEN * 34) for part in ("gate", "up", "down") for expert in range(EXPERTS)})


def with_rows(rows, make):
    global VOCAB
    before, VOCAB = VOCAB, rows
    try:
        return make()
    finally:
        VOCAB = before


def main():
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, type_, content in seeds():
        (CORPUS / name).write_bytes(bytes([0x40 | TYPES.index(type_)]) + content)


if __name__ == "__main__":
    main()
