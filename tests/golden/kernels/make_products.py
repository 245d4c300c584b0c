"""Writes products.bin: for every element type a small stored matrix and its product with four activation vectors.

The weights' bytes come from the gguf package's own quantiser where it has one, else they are random bits with sensible scales;
the products are float64, from the gguf package's dequantised weights. Nothing of moebox takes part.
Run: python make_products.py   (needs: gguf 0.19.0, numpy; gguf < 0.19 has no MXFP4)

Format, little-endian: per type  u32 ggml type, u32 rows, u32 columns, u32 stored bytes; the stored bytes; then rows x 4 float64.
Before the types: u32 columns, 4 x columns float32 activations, u32 number of types.
"""

import pathlib
import struct

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

rows, columns, n_tokens = 20, 512, 4
rng = np.random.default_rng(20260822)


def half(values):
    return np.asarray(values, np.float16).view(np.uint8).reshape(len(values), 2)


def random_blocks(kind):
    """Random bits, with halves at the given offsets."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    n = rows * columns // block
    data = rng.integers(0, 256, (n, size), dtype=np.uint8)
    scales = {T.Q2_K: {80: 2e-3, 82: 3e-3}, T.Q3_K: {108: 3e-4}, T.Q4_K: {0: 1e-4, 2: 6e-4}, T.Q5_K: {0: 5e-5, 2: 6e-4},
              T.Q6_K: {208: 1e-5}, T.IQ4_NL: {0: 3e-4}}[kind]
    for offset, scale in scales.items():
        data[:, offset:offset + 2] = half(scale * (0.5 + rng.random(n)))
    return data.reshape(rows, -1)


weights = (0.02 * rng.standard_normal((rows, columns))).astype(np.float32)
activations = rng.standard_normal((n_tokens, columns)).astype(np.float32)
activations[1, ::37] *= 8

kinds = [T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.MXFP4, T.IQ4_NL, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K]
out = struct.pack("<I", columns) + activations.tobytes() + struct.pack("<I", len(kinds))
for kind in kinds:
    if kind == T.F32:
        stored = weights.view(np.uint8)
    elif kind == T.F16:
        stored = weights.astype(np.float16).view(np.uint8)
    else:
        try:
            stored = gguf.quants.quantize(weights, kind)
        except NotImplementedError:
            stored = random_blocks(kind)
    values = gguf.quants.dequantize(stored.view(np.float16) if kind == T.F16 else stored.view(np.float32) if kind == T.F32 else stored, kind)
    product = values.astype(np.float64) @ activations.astype(np.float64).T
    data = np.ascontiguousarray(stored).tobytes()
    out += struct.pack("<4I", kind.value, rows, columns, len(data)) + data + product.astype("<f8").tobytes()
path = pathlib.Path(__file__).with_name("products.bin")
path.write_bytes(out)
print(path.name, len(out), "bytes")
