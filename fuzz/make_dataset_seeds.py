#!/usr/bin/env python3
"""Writes fuzz/corpus/dataset: shards, a manifest, a state and records for the target `dataset`. The first byte says which it is."""
import hashlib
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus" / "dataset"


def shard(vocabulary, documents, mask=None):
    starts, ids = [], []
    for document in documents:
        starts.append(len(ids))
        ids += document
    wide = vocabulary > 65536
    tensors = {"document_starts": ("I64", struct.pack(f"<{len(starts)}q", *starts)),
               "tokens": ("U32" if wide else "U16", struct.pack(f"<{len(ids)}{'I' if wide else 'H'}", *ids))}
    if mask:
        tensors["loss_mask"] = ("U8", bytes(mask))
    data = b"".join(content for _, content in tensors.values())
    header = {"__metadata__": {"format": "moebox-data", "format_version": "1", "tokenizer": "0" * 64, "vocabulary_size": str(vocabulary),
                               "domain": "a", "level": "general", "checksum": hashlib.blake2b(data, digest_size=32).hexdigest()}}
    offset = 0
    for name, (dtype, content) in tensors.items():
        count = len(starts) if name == "document_starts" else len(ids)
        header[name] = {"dtype": dtype, "shape": [count], "data_offsets": [offset, offset + len(content)]}
        offset += len(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


MANIFEST = {"format": "moebox-data", "format_version": 1, "tokenizer": "0" * 64, "vocabulary_size": 10, "settings": {},
            "domains": [{"name": "a", "level": "general", "weight": None, "report": {"read": 1}},
                        {"name": "b", "level": "synthetic", "weight": None, "report": {}}],
            "shards": [{"file": "train-a-00000.safetensors", "split": "train", "domain": "a", "documents": 2, "tokens": 5, "bytes": 400,
                        "digest": "1" * 64}]}
# The digest of the target's own small data set.
SMALL = hashlib.blake2b(b"a" + struct.pack("<Q", 45), digest_size=32).hexdigest()
STATE = {"version": 1, "data": SMALL, "options": {"rows": 2, "row_tokens": 4, "seed": 0, "repeat": True, "shuffle": True,
         "window_rows": 1024, "max_padding": 0.05, "shares": [1.0]}, "batches": 1, "window": 0, "row": 2,
         "domains": [{"epoch": 0, "position": 0, "pairs": 0}]}
TEXT = "mail a@b.org, 13812345678, 4111 1111 1111 1111, 11010519491231002X, 8.8.8.8, (212) 555-0123. 磨坊在河转弯的地方。"
MESSAGES = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"from": "gpt", "value": "Hello", "x": [1]}]}


def main():
    CORPUS.mkdir(parents=True, exist_ok=True)
    seeds = {"shard": b"\0" + shard(10, [[1, 2, 3], [4, 5]]), "wide": b"\0" + shard(70000, [[69999, 2], [0], [4, 5, 6]]),
             "mask": b"\0" + shard(10, [[1, 2, 3], [4, 5, 6, 7]], [0, 1, 1, 0, 0, 1, 1]),
             "manifest": b"\1" + json.dumps(MANIFEST).encode(), "state": b"\2" + json.dumps(STATE).encode(),
             "text": b"\3" + json.dumps({"text": TEXT}, ensure_ascii=False).encode(), "messages": b"\4" + json.dumps(MESSAGES).encode()}
    for name, content in seeds.items():
        (CORPUS / name).write_bytes(content)


if __name__ == "__main__":
    main()
