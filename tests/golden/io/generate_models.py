#!/usr/bin/env python3
"""Makes models.json: what the `gguf` package reads from the two models that tests use.

    pip install gguf==0.19.0 numpy && python3 generate_models.py FOLDER_WITH_MODELS

For every model: a hash (FNV-1a, 64 bits) of a canonical listing of all tensors and of all metadata, and a few entries in full.
A tensor's line is "name type (shape, slowest first) offset-in-file bytes\n"; a metadata line is "key = value\n" with integers in decimal,
floats as C's %a of their value, booleans as true and false, strings as they are, and arrays as "[value,value,...]".
"""
import json
import math
import sys
from pathlib import Path

from gguf import GGUFReader, GGUFValueType

HERE = Path(__file__).parent
MODELS = ["smollm2-135m-instruct-q4_1.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"]


def c_hex(value):
    """A float as glibc's printf("%a") writes it."""
    text = float(value).hex()  # 0x1.8000000000000p+1
    mantissa, exponent = text.split("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}"


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def value_text(kind, value):
    if kind == GGUFValueType.BOOL:
        return b"true" if value else b"false"
    if kind in (GGUFValueType.FLOAT32, GGUFValueType.FLOAT64):
        assert math.isfinite(value)
        return c_hex(value).encode()
    if kind == GGUFValueType.STRING:
        return bytes(value)
    return str(int(value)).encode()


def metadata_line(field):
    values = [field.parts[i] for i in field.data]
    kind = field.types[-1]
    if field.types[0] == GGUFValueType.ARRAY:
        scalars = [value_text(kind, part if kind == GGUFValueType.STRING else part[0]) for part in values]
        text = b"[" + b",".join(scalars) + b"]"
    else:
        text = value_text(kind, values[0] if kind == GGUFValueType.STRING else values[0][0])
    return field.name.encode() + b" = " + text + b"\n"


def main():
    folder = Path(sys.argv[1])
    golden = {}
    for name in MODELS:
        reader = GGUFReader(folder / name)
        tensors = [
            f"{t.name} {t.tensor_type.name} ({', '.join(str(int(d)) for d in reversed(t.shape))}) {t.data_offset} {t.n_bytes}\n"
            for t in reader.tensors
        ]
        # The reader adds three entries of its own for the header.
        fields = sorted((f for f in reader.fields.values() if not f.name.startswith("GGUF.")), key=lambda f: f.name.encode())
        lines = [metadata_line(f) for f in fields]
        golden[name] = {
            "n_tensors": len(tensors),
            "tensors_fnv1a": fnv1a("".join(tensors).encode()),
            "some_tensors": [tensors[i].rstrip("\n") for i in (0, 1, 2, len(tensors) // 2, -1)],
            "n_metadata": len(lines),
            "metadata_fnv1a": fnv1a(b"".join(lines)),
            "some_metadata": [line.decode().rstrip("\n") for line in lines if len(line) < 100],
        }
    (HERE / "models.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


main()
