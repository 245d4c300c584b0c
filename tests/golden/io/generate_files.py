#!/usr/bin/env python3
"""Makes small files with the software of others: GGUF with the `gguf` package, safetensors with `safetensors`, .npy with NumPy.

    pip install gguf==0.19.0 safetensors==0.5.3 numpy && python3 generate_files.py
"""
import json
import shutil
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.constants import GGUFValueType
from safetensors import serialize

HERE = Path(__file__).parent


def gguf_metadata(writer):
    writer.add_uint8("t.u8", 200)
    writer.add_int8("t.i8", -100)
    writer.add_uint16("t.u16", 60000)
    writer.add_int16("t.i16", -30000)
    writer.add_uint32("t.u32", 4000000000)
    writer.add_int32("t.i32", -2000000000)
    writer.add_float32("t.f32", 0.1)
    writer.add_uint64("t.u64", 2**64 - 1)
    writer.add_int64("t.i64", -(2**63))
    writer.add_float64("t.f64", 0.1)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "中文 and emoji 🙂")
    writer.add_array("t.strings", ["", "a", "b c", "\u00e9"])
    writer.add_array("t.integers", [1, -2, 3])
    writer.add_array("t.numbers", [0.5, -1.5])
    writer.add_array("t.booleans", [True, False, True])
    writer.add_key_value("t.bytes", bytes([0, 127, 255]), GGUFValueType.ARRAY, GGUFValueType.UINT8)


def gguf_tensors(writer):
    writer.add_tensor("matrix.f32", np.arange(12, dtype=np.float32).reshape(3, 4))
    writer.add_tensor("cube.f16", np.arange(30, dtype=np.float16).reshape(2, 3, 5))
    q8 = np.arange(4 * 34, dtype=np.uint8).reshape(2, 68)  # two rows of 64 values
    writer.add_tensor("blocks.q8_0", q8, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.add_tensor("vector.f32", np.array([7, 8, 9], dtype=np.float32))


def make_gguf():
    writer = GGUFWriter(HERE / "small.gguf", "test")
    gguf_metadata(writer)
    gguf_tensors(writer)
    finish(writer)

    shutil.rmtree(HERE / "split", ignore_errors=True)
    (HERE / "split").mkdir()
    writer = GGUFWriter(HERE / "split" / "small.gguf", "test", split_max_tensors=2)
    writer.add_uint32("t.u32", 4000000000)
    gguf_tensors(writer)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def entry(dtype, shape, array):
    return {"dtype": dtype, "shape": shape, "data": array.tobytes()}


def make_safetensors():
    f32 = np.arange(6, dtype="<f4")
    f16 = np.arange(4, dtype="<f2")
    bf16 = (np.array([1.0, -2.0, 0.5], dtype="<f4").view("<u4") >> 16).astype("<u2")
    one = {"a.f32": entry("float32", [2, 3], f32), "b.f16": entry("float16", [4], f16)}
    two = {"c.bf16": entry("bfloat16", [1, 3], bf16)}
    config = json.dumps({"architectures": ["Test"], "hidden_size": 3}) + "\n"

    for name in ("hf_single", "hf_sharded"):
        shutil.rmtree(HERE / name, ignore_errors=True)
        (HERE / name).mkdir()
        (HERE / name / "config.json").write_text(config)
    (HERE / "hf_single" / "model.safetensors").write_bytes(serialize({**one, **two}, {"format": "pt"}))
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    (HERE / "hf_sharded" / names[0]).write_bytes(serialize(one, {"format": "pt"}))
    (HERE / "hf_sharded" / names[1]).write_bytes(serialize(two, None))
    weight_map = {**{k: names[0] for k in one}, **{k: names[1] for k in two}}
    index = {"metadata": {"total_size": 38}, "weight_map": weight_map}
    (HERE / "hf_sharded" / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def make_npy():
    np.save(HERE / "f32.npy", np.array([[1.5, -2.25, np.inf], [0.0, -0.0, 3e-45]], dtype="<f4"))
    np.save(HERE / "i32.npy", np.array([1, -2, 2**31 - 1], dtype="<i4"))
    np.save(HERE / "i64.npy", np.array(-(2**63), dtype="<i8"))  # a scalar
    np.save(HERE / "empty.npy", np.zeros((0, 4), dtype="<f4"))
    np.save(HERE / "fortran.npy", np.asfortranarray(np.arange(6, dtype="<f4").reshape(2, 3)))
    np.save(HERE / "f64.npy", np.arange(3, dtype="<f8"))


make_gguf()
make_safetensors()
make_npy()
