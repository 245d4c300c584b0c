#!/usr/bin/env python3
"""Writes the seeds of the fuzz target kv_store. Checksums are left out: the target's first byte has them mended.

  fuzz/make_kv_store_seeds.py      writes fuzz/corpus/kv_store/
"""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus" / "kv_store"
WITH_KEY, DAMAGE, MEND_SEGMENT, MEND_RECORDS, MEND_BODIES = 1, 2, 4, 8, 16
MEND = MEND_SEGMENT | MEND_RECORDS | MEND_BODIES
SEGMENT = bytes(64)


def record(content, name=b"n", body_bytes=None, sealed=0):
    """As in src/kv_store/record.h."""
    body = struct.pack("<32sii32i", b"parent", 32, 32, *range(32)) + content + bytes(16 * sealed)
    return struct.pack("<4sIQ32s24sQQQ", b"MXKB", sealed, len(body) if body_bytes is None else body_bytes, name, b"", 0, 0, 0) + body


def edit(*pairs):
    return b"".join(struct.pack(">HB", offset, bits) for offset, bits in pairs)


def seeds():
    yield "empty", 0, b""
    yield "header", MEND, SEGMENT
    yield "one", MEND, SEGMENT + record(b"content")
    yield "three", MEND, SEGMENT + record(b"a" * 100) + record(b"") + record(b"c", b"another")
    yield "cut", MEND, SEGMENT + record(b"content") + record(b"content")[:150]
    yield "huge", MEND, SEGMENT + record(b"content", body_bytes=2**64 - 1)
    yield "wraps", MEND, SEGMENT + record(b"content", body_bytes=2**64 - 96)
    yield "small", MEND, SEGMENT + record(b"content", body_bytes=1)
    yield "sealed", MEND | WITH_KEY, SEGMENT + record(b"content", sealed=1)
    yield "sealed_without_key", MEND, SEGMENT + record(b"content", sealed=1)
    yield "clear_with_key", MEND | WITH_KEY, SEGMENT + record(b"content")
    for name, mode in ("clear", DAMAGE), ("keyed", DAMAGE | WITH_KEY):
        yield f"whole_{name}", mode, b""
        yield f"truncated_{name}", mode, b"\x80"
        yield f"edited_{name}", mode | MEND_RECORDS, edit((64, 1), (68, 1), (80, 7), (170, 255), (210, 1))


def main():
    CORPUS.mkdir(parents=True, exist_ok=True)
    for name, mode, content in seeds():
        (CORPUS / name).write_bytes(bytes([mode]) + content)


if __name__ == "__main__":
    main()
