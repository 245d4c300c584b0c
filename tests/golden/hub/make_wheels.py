#!/usr/bin/env python3
"""Makes the small wheels of tests/hub with Python's zipfile, and checksums of their contents with hashlib and git.

    python3 make_wheels.py        (writes beside itself)

tiny_parts_1 and tiny_parts_2 hold one model in two parts, tiny_broken has a member whose CRC does not fit, tiny_bomb one
that unpacks to much more than the model that its source promises.
"""

import hashlib
import json
import pathlib
import subprocess
import zipfile

HERE = pathlib.Path(__file__).parent


def content(seed: int, size: int) -> bytes:
    blocks = (hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range((size + 31) // 32))
    return b"".join(blocks)[:size]


def wheel(name: str, version: str, members: dict[str, bytes]) -> pathlib.Path:
    path = HERE / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = dict(members)
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: moebox tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{member},,\n" for member in files) + f"{info}/RECORD,,\n"
    files[f"{info}/RECORD"] = record.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in files.items():
            entry = zipfile.ZipInfo(member, date_time=(2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return path


def main() -> None:
    first, second = content(1, 5000), content(2, 3001)
    wheel("tiny_parts_1", "1.0", {"tiny_parts_1/data/part01.bin": first})
    wheel("tiny_parts_2", "1.0", {"tiny_parts_2/data/part02.bin": second})
    whole = first + second

    stored = b"moebox" * 100
    broken = HERE / "tiny_broken-1.0-py3-none-any.whl"
    wheel("tiny_broken", "1.0", {"tiny_broken/model.gguf": stored})
    raw = bytearray(broken.read_bytes())
    crc = zipfile.crc32(stored).to_bytes(4, "little")
    for at in range(len(raw) - 3):
        if raw[at : at + 4] == crc:
            raw[at] ^= 1
    broken.write_bytes(raw)

    wheel("tiny_bomb", "1.0", {"tiny_bomb/model.gguf": b"\0" * (8 << 20)})

    git = subprocess.run(["git", "hash-object", "--stdin"], input=whole, capture_output=True, check=True)
    expected = {
        "size_bytes": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
        "git_blob": git.stdout.decode().strip(),
    }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
