#!/usr/bin/env python3
"""Compares the ids of 20 MB of text with what Hugging Face tokenizers and sentencepiece gave for them (tests/golden/tokenizer/digests.json).

  check_digests.py ENCODE_FILE WORK_FOLDER TOKENIZER ...

A tokenizer's answers are looked up by the name of its file. Needs Python alone. Exits 1 when a document's ids differ.
"""
import hashlib
import json
import pathlib
import struct
import subprocess
import sys

import corpus

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "tokenizer" / "digests.json"


def digests_of(path):
    data, at = path.read_bytes(), 0
    while at < len(data):
        (count,) = struct.unpack_from("<I", data, at)
        at += 4
        yield hashlib.sha256(data[at:at + 4 * count]).hexdigest()[:8]
        at += 4 * count


def main():
    program, folder, tokenizers = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    golden = json.loads(GOLDEN.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    documents = list(corpus.documents(golden["bytes"], code_share=0))
    packed = corpus.pack(documents)
    if hashlib.sha256(packed).hexdigest() != golden["corpus"]:
        print("the texts made here are not those that the references were asked about: has corpus.py changed, or Python's random?")
        return 1
    (folder / "documents.bin").write_bytes(packed)
    failed = False
    for tokenizer in tokenizers:
        expected = golden["digests"][pathlib.Path(tokenizer).name]
        run = subprocess.run([program, tokenizer, folder / "documents.bin", folder / "ids.bin", *([] if tokenizer.endswith(".model") else ["trusted"])],
                             check=True, stdout=subprocess.PIPE, text=True)
        found = list(digests_of(folder / "ids.bin"))
        different = [i for i in range(max(len(documents), len(found))) if found[i:i + 1] != [expected[8 * i:8 * i + 8]]]
        print(f"{tokenizer}: {sum(map(len, documents))} bytes, {len(documents)} documents, {len(different)} differ {different[:5]} ({run.stdout.strip()})")
        failed |= bool(different) or len(expected) != 8 * len(documents)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
