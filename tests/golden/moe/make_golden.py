#!/usr/bin/env python3
"""Writes tiny models of the architectures that share DeepSeek's parts, and what Hugging Face transformers computes for them.

The same files as ../deepseek/make_golden.py writes (see there), with the same packages. Run it in this folder; it replaces what it
wrote before.
"""
import json
import pathlib
import shutil
import sys

import torch
from transformers import (AutoModelForCausalLM, DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM, MixtralConfig, MixtralForCausalLM, OlmoeConfig, OlmoeForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM,
                          Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM)
from transformers.models.deepseek_v2 import modeling_deepseek_v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3
from transformers.models.mixtral import modeling_mixtral
from transformers.models.olmoe import modeling_olmoe
from transformers.models.qwen2_moe import modeling_qwen2_moe
from transformers.models.qwen3 import modeling_qwen3
from transformers.models.qwen3_moe import modeling_qwen3_moe

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "deepseek"))
import make_golden as deepseek  # noqa: E402
from gate_attention import with_gate_attention  # noqa: E402

COMMON = dict(vocab_size=160, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=None, initializer_range=0.2)
SHAPES = {
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, modeling_qwen3, dict(COMMON, head_dim=16, tie_word_embeddings=True)),
    # A dense layer among those with experts; a shared expert that is scaled.
    "qwen2moe": (Qwen2MoeConfig, Qwen2MoeForCausalLM, modeling_qwen2_moe, dict(
        COMMON, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=24, shared_expert_intermediate_size=40, mlp_only_layers=[1])),
    "qwen3moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM, modeling_qwen3_moe, dict(
        COMMON, head_dim=16, num_experts=16, num_experts_per_tok=4, moe_intermediate_size=16, norm_topk_prob=True)),
    # Experts in every second layer; weights that are not normalised.
    "qwen3moe_step": (Qwen3MoeConfig, Qwen3MoeForCausalLM, modeling_qwen3_moe, dict(
        COMMON, head_dim=8, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=16, decoder_sparse_step=2)),
    "olmoe": (OlmoeConfig, OlmoeForCausalLM, modeling_olmoe, dict(COMMON, intermediate_size=24, num_experts=8, num_experts_per_tok=3)),
    # What DeepSeek's own models do not have: more than 16 heads in two groups of lanes, biases, halves rotated, two different mscales, no
    # q_lora under a sigmoid gate without groups, odd sizes.
    "deepseek_odd": (DeepseekV3Config, DeepseekV3ForCausalLM, modeling_deepseek_v3, dict(
        COMMON, hidden_size=40, num_attention_heads=20, num_key_value_heads=20, n_routed_experts=6, num_experts_per_tok=2, n_group=1,
        topk_group=1, moe_intermediate_size=20, n_shared_experts=1, first_k_dense_replace=1, kv_lora_rank=20, q_lora_rank=None,
        qk_rope_head_dim=4, qk_nope_head_dim=6, v_head_dim=5, rope_interleave=False, attention_bias=True, norm_topk_prob=False,
        routed_scaling_factor=1.5, rope_parameters=dict(rope_type="yarn", rope_theta=1000.0, factor=4.0, beta_fast=32, beta_slow=1,
                                                        original_max_position_embeddings=32, mscale=1.2, mscale_all_dim=0.7))),
    "mixtral": (MixtralConfig, MixtralForCausalLM, modeling_mixtral, dict(COMMON, num_local_experts=6, num_experts_per_tok=2)),
    # Gates that are fed by an attention of their own.
    "qwen3moe_attention": (Qwen3MoeConfig, with_gate_attention(Qwen3MoeForCausalLM), modeling_qwen3_moe, dict(
        COMMON, head_dim=16, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, norm_topk_prob=True, decoder_sparse_step=2,
        gate_attention=dict(num_heads=3, head_dim=8))),
    "deepseek_v2_attention": (DeepseekV2Config, with_gate_attention(DeepseekV2ForCausalLM), modeling_deepseek_v2, dict(
        COMMON, num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=3, n_group=4, topk_group=2, topk_method="group_limited_greedy",
        moe_intermediate_size=16, n_shared_experts=1, first_k_dense_replace=1, kv_lora_rank=16, q_lora_rank=24, qk_rope_head_dim=8,
        qk_nope_head_dim=8, v_head_dim=8, norm_topk_prob=False, routed_scaling_factor=4.0, gate_attention=dict(num_heads=2, head_dim=16))),
    # Several dense layers before the experts; a norm_topk_prob that transformers' V2 has and does nothing with.
    "deepseek_v2_two_dense": (DeepseekV2Config, DeepseekV2ForCausalLM, modeling_deepseek_v2, dict(
        COMMON, num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=3, topk_method="greedy", moe_intermediate_size=16,
        n_shared_experts=1, first_k_dense_replace=2, kv_lora_rank=16, q_lora_rank=24, qk_rope_head_dim=8, qk_nope_head_dim=8,
        v_head_dim=8, norm_topk_prob=True, routed_scaling_factor=4.0)),
    # Experts from the first layer on.
    "deepseek_v3_no_dense": (DeepseekV3Config, DeepseekV3ForCausalLM, modeling_deepseek_v3, dict(
        COMMON, num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=3, n_group=4, topk_group=2, moe_intermediate_size=16,
        n_shared_experts=1, first_k_dense_replace=0, kv_lora_rank=16, q_lora_rank=24, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8,
        norm_topk_prob=True, routed_scaling_factor=2.5)),
}


def write_model(shape):
    config_class, model_class, _, fields = SHAPES[shape]
    torch.manual_seed(0)
    model = model_class(config_class(**fields))
    with torch.no_grad():  # fresh norms and biases are ones and zeros, which would hide a missing one
        for name, tensor in model.named_parameters():
            if "norm" in name:
                tensor.add_(torch.randn_like(tensor) * 0.2)
            elif name.endswith(".bias"):
                tensor.copy_(torch.randn_like(tensor) * 0.5)
        for name, tensor in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                tensor.copy_(torch.randn_like(tensor) * 0.1)
    folder = HERE / "models" / shape
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    (folder / "model.safetensors").chmod(0o644)


def main():
    shutil.rmtree(HERE / "models", ignore_errors=True)
    cases = []
    for seed, (shape, (_, model_class, module, fields)) in enumerate(SHAPES.items()):
        write_model(shape)
        cases.append(deepseek.write_case(HERE, shape, shape, fields["vocab_size"], 80, [0, 1, 15, 31, 32, 63, 64, 79], seed, module,
                                         model_class=model_class if "gate_attention" in fields else AutoModelForCausalLM))
    (HERE / "cases.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
