#!/usr/bin/env python3
"""Makes the golden blocks of dequantize_test: random blocks of every type, and the floats that the `gguf` package makes of them.

    pip install gguf==0.19.0 numpy && python3 generate.py

<type>.blocks holds the stored bytes, <type>.floats the values as little-endian float32.
"""
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

HERE = Path(__file__).parent
# Bytes where the block keeps fp16 numbers; all other bytes are random.
HALF_AT = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "IQ4_NL": [0], "MXFP4": [],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}
# A usual scale, a negative one, the smallest subnormal half, and the largest half.
HALVES = [0.0123, -1.75, 2.0**-24, 65504.0]


def random_blocks(rng, name):
    block_elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    n_blocks = 1024 // block_elements if block_elements == 256 else 8
    blocks = rng.integers(0, 256, (n_blocks, block_bytes), dtype=np.uint8)
    for at in HALF_AT[name]:
        scales = np.array([HALVES[(i + at) % len(HALVES)] for i in range(n_blocks)], dtype="<f2")
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(n_blocks, 2)
    if name == "MXFP4":
        blocks[:, 0] = [0, 1, 2, 127, 120, 130, 254, 255]
    return blocks.reshape(-1)


def plain(rng, name):
    if name == "F32":
        return rng.standard_normal(64).astype("<f4").view(np.uint8)
    # Every exponent, signs, zeros and infinities; NaN has no one bit pattern and is left out.
    bits = rng.integers(0, 65536, 512, dtype=np.uint16)
    bits[:6] = [0x0000, 0x8000, 0x0001, 0x7C00 if name == "F16" else 0x7F80, 0x03FF, 0x0400]
    exponent = 0x7C00 if name == "F16" else 0x7F80
    is_nan = ((bits & exponent) == exponent) & ((bits & 0x7FFF) != exponent)
    return np.where(is_nan, 0x3C00, bits).astype("<u2").view(np.uint8)


def main():
    rng = np.random.default_rng(20260801)
    for name in ["F32", "F16", "BF16", *HALF_AT]:
        data = plain(rng, name) if name in ("F32", "F16", "BF16") else random_blocks(rng, name)
        kind = GGMLQuantizationType[name]
        source = data.view("<f4") if name == "F32" else data.view("<f2") if name == "F16" else data
        with np.errstate(over="ignore"):
            values = dequantize(source, kind).astype("<f4")
        (HERE / f"{name.lower()}.blocks").write_bytes(data.tobytes())
        (HERE / f"{name.lower()}.floats").write_bytes(values.tobytes())
        print(name, values.size, "values")


main()
