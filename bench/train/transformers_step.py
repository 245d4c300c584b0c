#!/usr/bin/env python3
"""Seconds of whole training steps by transformers (forward, backward, clipping, fused AdamW) on random tokens: the models of step.cpp. One JSON object.

    python3 bench/train/transformers_step.py [--model small|large|dense] [--type bf16|f32] [--compile] [--steps 7] [--threads 2] [--sequences 8]

BF16 is torch.autocast's: weights and moments stay float32, as in moebox. The experts' implementation is transformers' own choice for this machine.
"""
import argparse
import json
import resource
import statistics
import time

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

LENGTH = 256
SMALL = dict(vocab_size=8192, hidden_size=384, intermediate_size=1024, moe_intermediate_size=256, num_hidden_layers=6, num_attention_heads=6,
             num_key_value_heads=6, n_shared_experts=1, n_routed_experts=16, num_experts_per_tok=2, kv_lora_rank=128, q_lora_rank=192,
             qk_rope_head_dim=32, v_head_dim=64, qk_nope_head_dim=32, n_group=1, topk_group=1, first_k_dense_replace=1, max_position_embeddings=1024)
SHAPES = {"small": SMALL,
          "large": SMALL | dict(hidden_size=1024, n_routed_experts=32, intermediate_size=2816, moe_intermediate_size=512, num_attention_heads=16,
                                num_key_value_heads=16, kv_lora_rank=256, q_lora_rank=512, num_hidden_layers=4),
          "dense": SMALL | dict(first_k_dense_replace=6, intermediate_size=3 * 256)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="small")
    parser.add_argument("--type", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sequences", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    model = DeepseekV3ForCausalLM(DeepseekV3Config(**SHAPES[args.model]))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    forward = torch.compile(model) if args.compile else model
    tokens = torch.randint(0, SMALL["vocab_size"], (args.sequences, LENGTH))
    warm_up, seconds = 2, []
    for _ in range(args.steps + warm_up):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.type == "bf16"):
            loss = forward(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
    seconds = seconds[warm_up:]
    print(json.dumps({"tokens_per_second": tokens.numel() / statistics.median(seconds), "step_seconds": seconds,
                      "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                      "parameters": sum(p.numel() for p in model.parameters()), "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
