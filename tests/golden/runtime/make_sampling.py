#!/usr/bin/env python3
"""Writes sampling.json: what transformers' own logits warpers leave of small distributions.

Each case has logits, parameters, and the probabilities after transformers' processors in the order of its generate():
repetition penalty, temperature, top-k, top-p, min-p, typical. Made with transformers 5.23.0 and torch 2.11.0.
"""
import json
import pathlib

import torch
from transformers.generation.logits_process import (MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper,
                                                    TopKLogitsWarper, TopPLogitsWarper, TypicalLogitsWarper)

torch.manual_seed(7)
VOCABULARY = 48
settings = [
    {},
    {"temperature": 0.5},
    {"temperature": 1.7},
    {"top_k": 1},
    {"top_k": 5},
    {"top_p": 0.1},
    {"top_p": 0.8},
    {"min_p": 0.1},
    {"typical_p": 0.3},
    {"typical_p": 0.9},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7, "temperature": 0.8},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.05},
    {"temperature": 1.3, "top_k": 12, "top_p": 0.95, "typical_p": 0.8, "repetition_penalty": 1.1},
]
cases = []
for index, params in enumerate(settings * 2):
    logits = torch.randn(VOCABULARY) * (3.0 if index < len(settings) else 0.7)
    prompt = torch.randint(0, VOCABULARY, (9,))
    scores = logits[None].clone()
    ids = prompt[None]
    if "repetition_penalty" in params:
        scores = RepetitionPenaltyLogitsProcessor(params["repetition_penalty"])(ids, scores)
    if "temperature" in params:
        scores = TemperatureLogitsWarper(params["temperature"])(ids, scores)
    if "top_k" in params:
        scores = TopKLogitsWarper(params["top_k"])(ids, scores)
    if "top_p" in params:
        scores = TopPLogitsWarper(params["top_p"])(ids, scores)
    if "min_p" in params:
        scores = MinPLogitsWarper(params["min_p"])(ids, scores)
    if "typical_p" in params:
        scores = TypicalLogitsWarper(params["typical_p"])(ids, scores)
    probabilities = torch.softmax(scores.double(), -1)[0]
    cases.append({"params": params, "prompt": prompt.tolist(), "logits": [round(float(x), 6) for x in logits],
                  "probabilities": [round(float(p), 9) for p in probabilities]})
path = pathlib.Path(__file__).parent / "sampling.json"
path.write_text(json.dumps({"cases": cases}, separators=(",", ":")).replace('{"params"', '\n{"params"') + "\n")
