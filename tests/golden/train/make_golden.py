#!/usr/bin/env python3
"""Writes tiny models, the gradients of all their weights by transformers' autograd, and the losses of ten AdamW steps.

Not a source of real models: the weights are random. Needs torch==2.11.0 transformers==5.23.0 safetensors numpy. Run it in this folder;
it replaces what it wrote before.

models/<name>                  config.json and BF16 safetensors as transformers saves them
<name>.gradients.safetensors   float32, by the names of the folder's tensors
cases.json                     one entry a case: tokens, labels, loss, tolerances, losses of the steps

All is computed twice: in float64 (every float32 inside transformers replaced), which is what the files hold, and in float32. The
tolerance of a gradient is TOLERANCE_FACTOR times the distance (L2) of the two, at least the rounding of its own values to float32: a
trainer that adds in another order errs about as much as transformers does. Of a loss it is TOLERANCE_FACTOR times the difference, at
least 2^-22 of it. The choice of experts must be the same in both, or another seed has to be taken.
"""
import json
import pathlib
import shutil
import sys

import numpy
import safetensors.torch
import torch
from torch.nn import functional as F
from transformers import (DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM, Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig,
                          Qwen3MoeForCausalLM)
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen2_moe import modeling_qwen2_moe
from transformers.models.qwen3 import modeling_qwen3
from transformers.models.qwen3_moe import modeling_qwen3_moe

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "deepseek"), str(HERE.parent / "moe")]
from gate_attention import with_gate_attention  # noqa: E402
import importlib.util  # noqa: E402

_spec = importlib.util.spec_from_file_location("deepseek_golden", HERE.parent / "deepseek" / "make_golden.py")
deepseek = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(deepseek)

TOLERANCE_FACTOR = 4
N_STEPS = 10
ADAMW = dict(lr=2e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
MTP_WEIGHT = 0.3

COMMON = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=None, initializer_range=0.2)
MLA = dict(COMMON, num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, first_k_dense_replace=1,
           kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=12)
V3 = dict(MLA, num_hidden_layers=3, q_lora_rank=24, n_shared_experts=1, n_group=4, topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16, beta_fast=32, beta_slow=1, mscale=1.0,
            mscale_all_dim=1.0)

# name: (config class, model class, fields, (sequences, tokens of each))
SHAPES = {
    # Sigmoid gate with correction bias and groups, q_lora, YaRN.
    "deepseek_v3": (DeepseekV3Config, DeepseekV3ForCausalLM, dict(V3, rope_parameters=YARN), (2, 16)),
    # Softmax gate with groups, no q_lora, two shared experts.
    "deepseek_v2": (DeepseekV2Config, DeepseekV2ForCausalLM, dict(
        MLA, q_lora_rank=None, n_shared_experts=2, topk_method="group_limited_greedy", n_group=4, topk_group=2, routed_scaling_factor=4.0),
        (2, 16)),
    # A gate fed by an attention of its own; one sequence, which is all that the formula in Python knows.
    "deepseek_v2_attention": (DeepseekV2Config, with_gate_attention(DeepseekV2ForCausalLM), dict(
        MLA, q_lora_rank=24, n_shared_experts=1, topk_method="greedy", routed_scaling_factor=1.0, gate_attention=dict(num_heads=2, head_dim=8)),
        (1, 24)),
    # A layer behind that predicts a further token.
    "deepseek_v3_mtp": (DeepseekV3Config, DeepseekV3ForCausalLM, dict(V3, num_hidden_layers=3, n_shared_experts=1, q_lora_rank=None), (2, 16)),
    "llama": (LlamaConfig, LlamaForCausalLM, dict(COMMON, attention_bias=True, mlp_bias=True), (2, 16)),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, dict(COMMON, tie_word_embeddings=True), (2, 16)),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, dict(COMMON, head_dim=16), (2, 16)),
    "qwen2moe": (Qwen2MoeConfig, Qwen2MoeForCausalLM, dict(
        COMMON, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=24), (2, 16)),
    "qwen3moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM, dict(
        COMMON, head_dim=8, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=16, norm_topk_prob=True), (2, 16)),
}
MODULES = [modeling_llama, modeling_qwen2, modeling_qwen2_moe, modeling_qwen3, modeling_qwen3_moe]
SEEDS = {}  # where 0 makes a choice of experts that rounding decides


def mtp_weights(fields):
    """What the layer for multi-token prediction has beside an ordinary one; the embedding and the output matrix are the model's own."""
    hidden = fields["hidden_size"]
    return {"enorm.weight": 1 + torch.randn(hidden) * 0.2, "hnorm.weight": 1 + torch.randn(hidden) * 0.2,
            "eh_proj.weight": torch.randn(hidden, 2 * hidden) * 0.2, "shared_head.norm.weight": 1 + torch.randn(hidden) * 0.2}


def write_model(name):
    config_class, model_class, fields, _ = SHAPES[name]
    torch.manual_seed(SEEDS.get(name, 0))
    model = model_class(config_class(**fields))
    with torch.no_grad():  # fresh norms and biases are ones and zeros, which would hide a missing one
        for key, tensor in list(model.named_parameters()) + list(model.named_buffers()):
            if "norm" in key:
                tensor.add_(torch.randn_like(tensor) * 0.2)
            elif key.endswith("e_score_correction_bias"):
                tensor.copy_(torch.randn_like(tensor) * 0.1)
            elif key.endswith(".bias"):
                tensor.copy_(torch.randn_like(tensor) * 0.2)
    folder = HERE / "models" / name
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "model.safetensors"
    config = json.loads((folder / "config.json").read_text())
    if name.endswith("_mtp"):
        layer = fields["num_hidden_layers"] - 1
        weights = safetensors.torch.load_file(path)
        weights.update({f"model.layers.{layer}.{key}": tensor.to(torch.bfloat16) for key, tensor in mtp_weights(fields).items()})
        safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
        config.update(num_hidden_layers=layer, num_nextn_predict_layers=1)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    path.chmod(0o644)


class Trained:
    """A model in one precision: its loss, and its parameters by the names of the folder's tensors."""

    def __init__(self, name, dtype):
        _, model_class, fields, _ = SHAPES[name]
        folder = HERE / "models" / name
        self.dtype, self.mtp, self.chosen = dtype, name.endswith("_mtp"), []
        self.model = model_class.from_pretrained(folder, attn_implementation="eager", experts_implementation="eager", dtype=dtype,
                                                 num_hidden_layers=fields["num_hidden_layers"])
        self.extra = {}
        if self.mtp:
            self.mtp_layer = self.model.model.layers[-1]
            self.layer = len(self.model.model.layers) - 1
            prefix = f"model.layers.{self.layer}."
            stored = safetensors.torch.load_file(folder / "model.safetensors")
            self.extra = {key: torch.nn.Parameter(stored[prefix + key].to(dtype)) for key in mtp_weights(fields)}
        for layer in self.model.model.layers:
            if hasattr(layer.mlp, "gate") and hasattr(layer.mlp, "experts"):
                layer.mlp.gate.register_forward_hook(lambda _, __, output: self.chosen.append(output[2].sort(-1).values.clone()))

    def parameters(self):
        return list(self.model.parameters()) + list(self.extra.values())

    def norm(self, key, rows):
        module = deepseek.modeling_deepseek_v3.DeepseekV3RMSNorm(rows.shape[-1], self.model.config.rms_norm_eps).to(self.dtype)
        del module.weight
        module.weight = self.extra[key]
        return module(rows)

    def cross_entropy(self, rows, targets):
        logits = self.model.lm_head(rows)
        return F.cross_entropy(logits.flatten(0, 1).to(self.dtype), targets.flatten(), ignore_index=-100, reduction="sum")

    def loss(self, tokens, labels):
        model = self.model.model
        shifted = F.pad(labels[:, 1:], (0, 1), value=-100)
        n_targets = (shifted != -100).sum()
        if not self.mtp:
            return self.cross_entropy(model(tokens, use_cache=False).last_hidden_state, shifted) / n_targets
        layers = model.layers
        model.layers, model.config.num_hidden_layers = layers[:-1], self.layer
        rows = model(tokens, use_cache=False).last_hidden_state
        model.layers = layers
        # DeepSeek-V3, section 2.2; the row is read behind the last norm, as vLLM and SGLang do.
        embedded = model.embed_tokens(tokens[:, 1:])
        pairs = torch.cat([self.norm("enorm.weight", embedded), self.norm("hnorm.weight", rows[:, :-1])], -1) @ self.extra["eh_proj.weight"].T
        n = pairs.shape[1]
        places = torch.arange(n)[None]
        mask = torch.full((n, n), float("-inf"), dtype=self.dtype).triu(1)[None, None]
        said = self.mtp_layer(pairs, attention_mask=mask, position_ids=places, position_embeddings=model.rotary_emb(pairs, places))
        said = self.norm("shared_head.norm.weight", said[0] if isinstance(said, tuple) else said)
        return (self.cross_entropy(rows, shifted) + MTP_WEIGHT * self.cross_entropy(said, shifted[:, 1:])) / n_targets

    def gradients(self):
        """By the names of the folder: a tensor for each expert."""
        all_ = {}
        for name, parameter in self.model.named_parameters():
            gradient = parameter.grad.detach()
            if name.endswith("mlp.experts.gate_up_proj"):
                for expert, both in enumerate(gradient):
                    stem = name.removesuffix("gate_up_proj") + f"{expert}."
                    all_[stem + "gate_proj.weight"], all_[stem + "up_proj.weight"] = both.chunk(2)
            elif name.endswith("mlp.experts.down_proj"):
                for expert, one in enumerate(gradient):
                    all_[name.removesuffix("down_proj") + f"{expert}.down_proj.weight"] = one
            else:
                all_[name] = gradient
        all_.update({f"model.layers.{self.layer}.{key}": parameter.grad.detach() for key, parameter in self.extra.items()})
        return all_


def train(name, dtype, tokens, labels):
    """Gradients of the first step, and the losses of all steps."""
    trained = Trained(name, dtype)
    groups = [dict(params=[p for p in trained.parameters() if p.dim() > 1]), dict(params=[p for p in trained.parameters() if p.dim() < 2], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, **ADAMW)
    losses, gradients = [], None
    for _ in range(N_STEPS):
        optimizer.zero_grad()
        loss = trained.loss(tokens, labels)
        loss.backward()
        losses.append(loss.item())
        if gradients is None:
            gradients = {key: value.clone() for key, value in trained.gradients().items()}
        optimizer.step()
    return gradients, losses, trained.chosen


def write_case(name):
    _, _, fields, (n_sequences, length) = SHAPES[name]
    rng = numpy.random.default_rng(7)
    tokens = torch.tensor(rng.integers(0, fields["vocab_size"], (n_sequences, length)))
    labels = tokens.clone()
    labels[:, 3:5] = -100  # no loss there
    gradients, losses, chosen = train(name, torch.float32, tokens, labels)
    with deepseek.double_precision(*MODULES):
        exact, exact_losses, exact_chosen = train(name, torch.float64, tokens, labels)
    assert all(torch.equal(a, b) for a, b in zip(chosen, exact_chosen)), f"{name}: rounding decides a choice of experts: take another seed"
    tolerances = {}
    for key, value in exact.items():
        distance = (gradients[key].double() - value).norm().item()
        tolerances[key] = TOLERANCE_FACTOR * max(distance, value.norm().item() * 2.0 ** -24)
    safetensors.torch.save_file({key: value.float().contiguous() for key, value in exact.items()}, HERE / f"{name}.gradients.safetensors")
    (HERE / f"{name}.gradients.safetensors").chmod(0o644)
    return {"name": name, "tokens": tokens.tolist(), "labels": labels.tolist(), "losses": exact_losses,
            "loss_tolerances": [TOLERANCE_FACTOR * max(abs(a - b), b * 2.0 ** -22) for a, b in zip(losses, exact_losses)],
            "gradient_tolerances": tolerances}


def main():
    shutil.rmtree(HERE / "models", ignore_errors=True)
    cases = []
    for name in SHAPES:
        write_model(name)
        cases.append(write_case(name))
        print(name, "loss", cases[-1]["losses"][0], "to", cases[-1]["losses"][-1])
    head = {"adamw": ADAMW, "mtp_weight": MTP_WEIGHT}
    (HERE / "cases.json").write_text(json.dumps(head)[:-1] + ', "cases": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]}\n")


if __name__ == "__main__":
    main()
