#!/usr/bin/env python3
"""Writes tiny DeepSeek checkpoints with random weights, and what Hugging Face transformers computes for them.

Not a source of real models: the weights are random. Needs torch==2.11.0 transformers==5.23.0 safetensors numpy.
Run it in this folder; it replaces what it wrote before.

models/<shape>       config.json and BF16 safetensors as transformers saves them; tiny-v3-yarn shares the weights of tiny-v3
cases.json           one entry a case: model, token ids, positions, tolerance
<case>.logits.npy    (n_positions, vocab_size) float32: transformers with float32 arithmetic and the BF16 weights
<case>.experts.npy   (n_moe_layers, n_tokens, top_k) int32: the chosen experts, ascending
<case>.margins.npy   (n_moe_layers, n_tokens) float32: how far the choice was from another one, in scores
gates.json           gates alone: logits in, experts and weights out
mtp.json             what the layer for multi-token prediction of tiny-v3-mtp says: positions, tolerances
mtp.logits.npy       (n_positions + 1, vocab_size) float32: the last row is a second guess, made of a first one
`make_golden.py mtp` writes the last two and tiny-v3-mtp alone; its entry in cases.json then stays as it is.

transformers runs in float32 with eager attention; again in float64 (every float32 inside it replaced). The tolerance is 4 x the largest
difference of the two: an engine that adds in another order errs about as much as transformers does.
"""
import contextlib
import json
import os
import pathlib
import shutil
import sys

import numpy
import safetensors.torch
import torch
from transformers import (AutoModelForCausalLM, DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM)
from transformers import modeling_rope_utils
from transformers.models.deepseek_v2 import modeling_deepseek_v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE / "models"
TOLERANCE_FACTOR = 4

# ---- the models -----------------------------------------------------------------------------------------------------------------

TINY = dict(vocab_size=512, hidden_size=64, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=4, n_routed_experts=8, kv_lora_rank=32, qk_rope_head_dim=16,
            qk_nope_head_dim=16, v_head_dim=24, first_k_dense_replace=1, max_position_embeddings=512,
            bos_token_id=0, eos_token_id=1, initializer_range=0.15)  # wide enough that routing and attention matter
V3 = dict(TINY, q_lora_rank=48, n_shared_experts=1, num_experts_per_tok=3, n_group=4, topk_group=2, norm_topk_prob=True,
          routed_scaling_factor=2.5)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=128, beta_fast=32,
            beta_slow=1, mscale=1.0, mscale_all_dim=1.0)
SHAPES = {
    # Without q_lora, softmax gate, plain top-k. llama.cpp knows the Lite shape by its 27 layers.
    "tiny-v2-lite": (DeepseekV2Config, DeepseekV2ForCausalLM, dict(
        TINY, hidden_size=32, intermediate_size=48, vocab_size=256, num_hidden_layers=27, q_lora_rank=None, n_shared_experts=2,
        num_experts_per_tok=3, topk_method="greedy", norm_topk_prob=False, routed_scaling_factor=1.0)),
    # q_lora, softmax gate, group-limited top-k.
    "tiny-v2": (DeepseekV2Config, DeepseekV2ForCausalLM, dict(
        TINY, q_lora_rank=48, n_shared_experts=2, num_experts_per_tok=3, topk_method="group_limited_greedy", n_group=4, topk_group=2,
        norm_topk_prob=False, routed_scaling_factor=16.0)),
    # q_lora, sigmoid gate with correction bias, groups, scaling.
    "tiny-v3": (DeepseekV3Config, DeepseekV3ForCausalLM, V3),
    "tiny-v3-yarn": (DeepseekV3Config, DeepseekV3ForCausalLM, dict(V3, rope_parameters=YARN)),
}
# With a layer for multi-token prediction behind the three of the model, as the published files have it.
MTP_SHAPE, MTP_LAYER = "tiny-v3-mtp", 3
SAME_WEIGHTS = {"tiny-v3-yarn": "tiny-v3"}


def write_model(shape):
    config_class, model_class, fields = SHAPES[shape]
    torch.manual_seed(0)
    model = model_class(config_class(**fields))
    with torch.no_grad():  # the published models have a trained correction bias: zeros would hide a missing one
        for name, tensor in list(model.named_buffers()) + list(model.named_parameters()):
            if name.endswith("e_score_correction_bias"):
                tensor.copy_(torch.randn_like(tensor) * 0.1)
    folder = MODELS / shape
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    weights = folder / "model.safetensors"
    weights.chmod(0o644)
    if shape in SAME_WEIGHTS:
        other = MODELS / SAME_WEIGHTS[shape] / "model.safetensors"
        assert weights.read_bytes() == other.read_bytes()
        weights.unlink()
        weights.symlink_to(os.path.relpath(other, folder))


def write_mtp_model():
    """A model of four layers, of which the last one becomes the layer for multi-token prediction. All norms are random: ones would hide
    a missing one."""
    torch.manual_seed(6)
    config = DeepseekV3Config(**dict(V3, num_hidden_layers=MTP_LAYER + 1))
    model = DeepseekV3ForCausalLM(config)
    with torch.no_grad():
        for name, tensor in list(model.named_buffers()) + list(model.named_parameters()):
            if name.endswith("e_score_correction_bias"):
                tensor.copy_(torch.randn_like(tensor) * 0.1)
            elif name.endswith("norm.weight"):
                tensor.copy_(1 + torch.randn_like(tensor) * 0.3)
    folder = MODELS / MTP_SHAPE
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    prefix, hidden, vocab = f"model.layers.{MTP_LAYER}.", config.hidden_size, config.vocab_size
    for name, tensor in {
        "embed_tokens.weight": torch.randn(vocab, hidden) * 0.15,  # not copies of the model's, as the published ones are
        "shared_head.head.weight": torch.randn(vocab, hidden) * 0.15,
        "shared_head.norm.weight": 1 + torch.randn(hidden) * 0.3,
        "enorm.weight": 1 + torch.randn(hidden) * 0.3,
        "hnorm.weight": 1 + torch.randn(hidden) * 0.3,
        "eh_proj.weight": torch.randn(hidden, 2 * hidden) * 0.15,
    }.items():
        weights[prefix + name] = tensor.to(torch.bfloat16)
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    fields = json.loads((folder / "config.json").read_text())
    fields.update(num_hidden_layers=MTP_LAYER, num_nextn_predict_layers=1)
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n")


# ---- transformers ---------------------------------------------------------------------------------------------------------------

class Float64Torch:
    """torch, with float64 wherever a module asks for float32."""

    def __getattr__(self, name):
        return torch.float64 if name in ("float", "float32") else getattr(torch, name)


@contextlib.contextmanager
def double_precision(*modules):
    """transformers computes norms, softmax, gates and RoPE in float32 whatever the model's type: here they are float64 as well."""
    modules = [modeling_rope_utils, modeling_deepseek_v2, modeling_deepseek_v3, *modules]
    to_float = torch.Tensor.float
    for module in modules:
        module.torch = Float64Torch()
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        for module in modules:
            module.torch = torch
        torch.Tensor.float = to_float


def selection_margin(scores, config, bias):
    """The smallest change of a score (tokens, n_experts) that would change the choice of experts."""
    n_group, topk_group, top_k = getattr(config, "n_group", None) or 1, getattr(config, "topk_group", None) or 1, config.num_experts_per_tok
    choice = scores + (0 if bias is None else bias)
    margin = numpy.full(choice.shape[0], numpy.inf)
    if n_group > 1:
        grouped = numpy.sort(choice.reshape(choice.shape[0], n_group, -1), axis=-1)
        group = grouped[..., -1] if bias is None else grouped[..., -1] + grouped[..., -2]
        order = numpy.sort(group, axis=-1)
        if topk_group < n_group:
            margin = order[:, -topk_group] - order[:, -topk_group - 1]
        allowed = group >= order[:, [-topk_group]]
        choice = numpy.where(numpy.repeat(allowed, choice.shape[1] // n_group, axis=1), choice, -numpy.inf)
    order = numpy.sort(choice, axis=-1)
    return numpy.minimum(margin, order[:, -top_k] - order[:, -top_k - 1])


@torch.inference_mode()
def run(folder, ids, dtype, model_class=AutoModelForCausalLM):
    """logits (n_tokens, vocab_size), experts and margins (n_moe_layers, n_tokens, ...): None where there are no experts."""
    model = model_class.from_pretrained(folder, attn_implementation="eager", experts_implementation="eager", dtype=dtype).eval()
    experts, margins = [], []

    def record(module, _, output):
        logits, _, indices = output
        bias = getattr(module, "e_score_correction_bias", None)
        scores = logits.double().sigmoid() if bias is not None else logits.double().softmax(-1)
        experts.append(indices.sort(-1).values.int().numpy())
        margins.append(selection_margin(scores.numpy(), model.config, None if bias is None else bias.double().numpy()))

    for layer in model.model.layers:
        if hasattr(layer.mlp, "gate"):
            layer.mlp.gate.register_forward_hook(record)
    logits = model(torch.tensor([ids]), use_cache=False).logits[0].double().numpy()
    return (logits, numpy.stack(experts), numpy.stack(margins)) if experts else (logits, None, None)


@torch.inference_mode()
def run_mtp(folder, ids, positions, chained, dtype):
    """DeepSeek-V3's report, section 2.2: the row of position i (behind the last norm, as vLLM and SGLang read it) and the embedding of
    token i + 1, each normed, become one row by a projection; a decoder layer and the shared head follow. Logits (n_positions + 1,
    vocab_size) of the pairs whose token stands at these positions; the last is of the pair at `chained`, which is made of what the
    layer itself said at the position before."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", experts_implementation="eager", dtype=dtype,
                                                 num_hidden_layers=MTP_LAYER + 1).eval()
    layer = model.model.layers[MTP_LAYER]
    model.model.layers = model.model.layers[:MTP_LAYER]
    model.config.num_hidden_layers = MTP_LAYER
    prefix = f"model.layers.{MTP_LAYER}."
    stored = {name.removeprefix(prefix): tensor.to(dtype)
              for name, tensor in safetensors.torch.load_file(folder / "model.safetensors").items() if name.startswith(prefix)}

    def norm(name, rows):
        module = modeling_deepseek_v3.DeepseekV3RMSNorm(rows.shape[-1], model.config.rms_norm_eps).to(dtype)
        module.weight.copy_(stored[name])
        return module(rows)

    def pairs(rows, tokens):
        embedded = torch.nn.functional.embedding(tokens, stored["embed_tokens.weight"])
        both = torch.cat([norm("enorm.weight", embedded), norm("hnorm.weight", rows)], dim=-1)
        return both @ stored["eh_proj.weight"].T

    def decode(rows):
        n = rows.shape[1]
        places = torch.arange(n)[None]
        mask = torch.full((n, n), float("-inf"), dtype=dtype).triu(1)[None, None]
        out = layer(rows, attention_mask=mask, position_ids=places, position_embeddings=model.model.rotary_emb(rows, places))
        out = out[0] if isinstance(out, tuple) else out
        return norm("shared_head.norm.weight", out)

    tokens = torch.tensor([ids])
    rows = model.model(tokens, use_cache=False).last_hidden_state
    made = pairs(rows[:, :-1], tokens[:, 1:])  # at index i the pair at position i + 1
    said = decode(made)
    wanted = said[0, [position - 1 for position in positions]]
    again = pairs(said[:, chained - 2:chained - 1], tokens[:, chained:chained + 1])
    second = decode(torch.cat([made[:, :chained - 1], again], dim=1))[0, -1:]
    return (torch.cat([wanted, second]) @ stored["shared_head.head.weight"].T).double().numpy()


def write_mtp_case(n_tokens=150, positions=(1, 2, 31, 32, 33, 127, 128, 129, 149), chained=100, seed=6):
    folder = MODELS / MTP_SHAPE
    ids = numpy.random.default_rng(seed).integers(0, TINY["vocab_size"], n_tokens).tolist()
    logits = run_mtp(folder, ids, positions, chained, torch.float32)
    with double_precision():
        exact = run_mtp(folder, ids, positions, chained, torch.float64)
    error = float(numpy.abs(logits - exact).max())
    numpy.save(HERE / "mtp.logits.npy", logits.astype(numpy.float32))
    entry = {"model": MTP_SHAPE, "tokens": ids, "positions": list(positions), "chained": chained, "float32_error": error,
             "tolerance": TOLERANCE_FACTOR * error, "logits_rms": float(numpy.sqrt((exact ** 2).mean()))}
    (HERE / "mtp.json").write_text(json.dumps(entry) + "\n")


# name: (model, tokens, positions, seed)
CASES = {
    "tiny-v2-lite": ("tiny-v2-lite", 100, [0, 1, 15, 31, 32, 63, 64, 99], 1),
    "tiny-v2": ("tiny-v2", 100, [0, 1, 15, 31, 32, 63, 64, 99], 2),
    "tiny-v3": ("tiny-v3", 160, [0, 1, 31, 32, 127, 128, 150, 159], 3),
    "tiny-v3-yarn": ("tiny-v3-yarn", 300, [0, 1, 63, 127, 128, 129, 256, 299], 4),  # beyond the original context of 128
    "tiny-v3-long": ("tiny-v3", 700, [0, 127, 128, 511, 512, 513, 640, 699], 5),
}


def write_case(here, name, shape, vocab_size, n_tokens, positions, seed, *modules, model_class=AutoModelForCausalLM):
    """Writes a case's arrays beside `here`, and returns its entry. `modules` compute in float32 whatever they are told."""
    ids = numpy.random.default_rng(seed).integers(0, vocab_size, n_tokens).tolist()
    folder = here / "models" / shape
    logits, experts, margins = run(folder, ids, torch.float32, model_class)
    with double_precision(*modules):
        exact, exact_experts, _ = run(folder, ids, torch.float64, model_class)
    error = float(numpy.abs(logits - exact)[positions].max())
    numpy.save(here / f"{name}.logits.npy", logits[positions].astype(numpy.float32))
    entry = {"name": name, "model": shape, "tokens": ids, "positions": positions, "float32_error": error,
             "tolerance": TOLERANCE_FACTOR * error, "logits_rms": float(numpy.sqrt((exact ** 2).mean()))}
    if experts is not None:
        numpy.save(here / f"{name}.experts.npy", experts.astype(numpy.int32))
        numpy.save(here / f"{name}.margins.npy", margins.astype(numpy.float32))
        entry["smallest_margin"] = float(margins.min())
        entry["choices_that_differ_in_float64"] = int((experts != exact_experts).any(-1).sum())
    return entry


# ---- gates ----------------------------------------------------------------------------------------------------------------------

def gate_case(name, version, n_experts, top_k, scale, n_group=None, topk_group=None, normalize=False, seed=0, n_tokens=24):
    """A router whose weight is the identity: what goes in are the logits."""
    fields = dict(TINY, hidden_size=n_experts, num_attention_heads=1, num_key_value_heads=1, n_routed_experts=n_experts, num_experts_per_tok=top_k,
                  routed_scaling_factor=scale, n_group=n_group, topk_group=topk_group, norm_topk_prob=normalize)
    torch.manual_seed(seed)
    bias = None
    if version == 2:
        gate = modeling_deepseek_v2.DeepseekV2TopkRouter(DeepseekV2Config(
            **fields, topk_method="group_limited_greedy" if n_group else "greedy"))
    else:
        gate = modeling_deepseek_v3.DeepseekV3TopkRouter(DeepseekV3Config(**fields))
        bias = torch.randn(n_experts) * 0.1
        gate.e_score_correction_bias.copy_(bias)
    with torch.inference_mode():
        gate.weight.copy_(torch.eye(n_experts))
        logits = torch.randn(n_tokens, n_experts) * 2
        _, weights, indices = gate(logits)
    order = indices.argsort(-1)
    return {"name": name, "n_experts": n_experts, "top_k": top_k, "score": "softmax" if version == 2 else "sigmoid",
            "n_groups": n_group or 1, "top_groups": topk_group or 1, "normalize": normalize, "scale": scale,
            "bias": None if bias is None else bias.tolist(), "logits": logits.tolist(),
            "experts": indices.gather(-1, order).tolist(), "weights": weights.gather(-1, order).tolist()}


def main():
    if sys.argv[1:] == ["mtp"]:
        write_mtp_model()
        write_mtp_case()
        return
    shutil.rmtree(MODELS, ignore_errors=True)
    for shape in SHAPES:
        write_model(shape)
    write_mtp_model()
    write_mtp_case()
    cases = [write_case(HERE, name, shape, SHAPES[shape][2]["vocab_size"], *rest) for name, (shape, *rest) in CASES.items()]
    (HERE / "cases.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    gates = [
        gate_case("softmax", 2, 16, 6, 1.0),
        gate_case("softmax_groups", 2, 32, 6, 16.0, 8, 3),
        gate_case("sigmoid_groups", 3, 32, 8, 2.5, 8, 4, True),
        gate_case("sigmoid", 3, 16, 6, 2.446, 1, 1, True),
        gate_case("sigmoid_unnormalised", 3, 16, 4, 1.5, 4, 2, False),
    ]
    (HERE / "gates.json").write_text("[\n" + ",\n".join(json.dumps(gate) for gate in gates) + "\n]\n")


if __name__ == "__main__":
    main()
