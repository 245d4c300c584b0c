"""A transformers model whose gates are attention-fed (docs/routing.md): torch's own attention computes what the router then multiplies.

No published model has such a gate, so no library computes it: this is the formula in PyTorch, written apart from moebox.
"""
import torch
from torch import nn
from torch.nn import functional as F


class GateAttention(nn.Module):
    def __init__(self, hidden_size, num_heads, head_dim):
        super().__init__()
        self.heads = (num_heads, head_dim)
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(self, name, nn.Linear(hidden_size, num_heads * head_dim, bias=False))

    def forward(self, rows):  # (n_tokens, hidden_size)
        q, k, v = (projection(rows).unflatten(-1, self.heads).transpose(0, 1) for projection in (self.q_proj, self.k_proj, self.v_proj))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).flatten(1)


def with_gate_attention(model_class):
    """`model_class` under its own name, with a GateAttention in front of every router: config.gate_attention has its sizes."""

    def init(self, config):
        model_class.__init__(self, config)
        sizes = config.gate_attention
        for layer in self.model.layers:
            router = getattr(layer.mlp, "gate", None)
            if router is None or not hasattr(layer.mlp, "experts"):
                continue
            layer.gate_attention = GateAttention(config.hidden_size, sizes["num_heads"], sizes["head_dim"])
            router.hidden_dim = sizes["num_heads"] * sizes["head_dim"]
            router.weight = nn.Parameter(torch.randn(router.weight.shape[0], router.hidden_dim) * config.initializer_range * 2)
            router.register_forward_pre_hook(
                lambda _, inputs, attention=layer.gate_attention: (attention(inputs[0].reshape(-1, inputs[0].shape[-1])),))

    return type(model_class.__name__, (model_class,), {"__init__": init, "__module__": model_class.__module__})
