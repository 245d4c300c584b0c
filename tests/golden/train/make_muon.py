#!/usr/bin/env python3
"""Writes matrices, their gradients in some steps, and what torch.optim.Muon makes of them in float64, into muon.safetensors.

    python3 make_muon.py        # torch==2.11.0, safetensors

torch computes the iteration in bfloat16, whatever it is given; here that conversion is left out, so that an error of float32's size can be told.
The stack has three experts with gate and up, (3, 10, 8): each of its six matrices is a parameter of its own.
"""
import pathlib

import torch
from safetensors.torch import save_file

N_STEPS = 4
SHAPES = {"stack": (3, 10, 8), "tall": (12, 5), "wide": (4, 9)}
SETTINGS = dict(lr=0.02, weight_decay=0.1, momentum=0.9, nesterov=True, adjust_lr_fn="match_rms_adamw")


def matrices(name, whole):
    """Views of all matrices of a weight."""
    return [half for expert in whole for half in expert.split(5)] if name == "stack" else [whole]


def main():
    torch.manual_seed(11)
    torch.Tensor.bfloat16 = lambda self: self.clone()
    tensors = {}
    for name, shape in SHAPES.items():
        weight = torch.randn(shape)
        gradients = torch.randn((N_STEPS, *shape)) * 0.1
        gradients[2, 0] = 0  # an expert without a token, for one step
        parameters = [torch.nn.Parameter(part.double().clone()) for part in matrices(name, weight)]
        optimizer = torch.optim.Muon(parameters, **SETTINGS)
        tensors[f"{name}.weight"], tensors[f"{name}.gradients"] = weight, gradients
        for step, gradient in enumerate(gradients):
            for parameter, part in zip(parameters, matrices(name, gradient)):
                parameter.grad = part.double().clone()
            optimizer.step()
            tensors[f"{name}.{step}"] = torch.cat([p.detach() for p in parameters]).reshape(shape).float()
    save_file(tensors, pathlib.Path(__file__).parent / "muon.safetensors")


if __name__ == "__main__":
    main()
