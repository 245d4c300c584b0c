"""Writes kv_cache.bin: numbers, the blocks that ggml's reference quantises them to as Q8_0, and the BF16 that ggml rounds them to.

Run: python make_kv_cache.py   (needs: llama-cpp-python 0.3.36, numpy; calls its libggml-base)

Format, little-endian: u32 n (a multiple of 32), u32 m; n float32, n / 32 blocks of Q8_0 (34 bytes), n BF16; then m float32 and m BF16, infinities
and NaN among them.
"""

import ctypes
import importlib.util
import pathlib
import struct

import numpy as np

package = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent
ggml = ctypes.CDLL(str(package / "lib" / "libggml-base.so"))
rng = np.random.default_rng(20261123)


def call(name, values, result):
    getattr(ggml, name)(values.ctypes.data_as(ctypes.c_void_p), result.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(values.size))
    return result


groups = [scale * rng.standard_normal(32) for scale in (1, 1, 0.03, 40, 3e3, 1e-3, 2e-5, 3e-8, 1e-12)]
groups += [np.zeros(32), -np.zeros(32), np.full(32, -3.7), np.eye(32)[7] * -5]
halves = np.arange(32) - 16 + 0.5  # exact ties where the largest is 127
halves[5] = 127
groups += [halves, -halves, np.linspace(-127, 127, 32), np.geomspace(1e-6, 60000, 32) * np.where(np.arange(32) % 2, 1, -1)]
values = np.concatenate(groups).astype("<f4")
blocks = call("quantize_row_q8_0_ref", values, np.zeros(values.size // 32 * 34, np.uint8))
special = np.array([0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7F7FFFFF, 0x00000001, 0x80000000, 0x3F808000, 0x3F818000,
                    0x3F808001, 0x3F807FFF, 0x00008000, 0x00018000, 0xFF7F8000, 0x477FFFFF], "<u4").view("<f4")
out = struct.pack("<2I", values.size, special.size) + values.tobytes() + blocks.tobytes()
out += call("ggml_fp32_to_bf16_row_ref", values, np.zeros(values.size, "<u2")).tobytes()
out += special.tobytes() + call("ggml_fp32_to_bf16_row_ref", special, np.zeros(special.size, "<u2")).tobytes()
path = pathlib.Path(__file__).with_name("kv_cache.bin")
path.write_bytes(out)
print(path.name, len(out), "bytes")
