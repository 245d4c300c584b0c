#!/usr/bin/env python3
"""Compares the ids of moebox's tokenizers with those of Hugging Face tokenizers and of sentencepiece, on at least 20 MB of text.

  compare_with_huggingface.py ENCODE_FILE WORK_FOLDER --gguf FILE ... [--json FILE ...] [--model FILE ...] [--bytes N] [--write DIGESTS]

ENCODE_FILE is the program of encode_file.cpp. For a GGUF the reference is built from its vocabulary and merges; with --json the file
is the reference and is also loaded by moebox, and with --pair GGUF JSON the GGUF is compared with the file of its author. SentencePiece
models are those of --model, or two that are trained here. Exits 1 when one id differs. Needs the packages of requirements.txt.

--write makes tests/golden/tokenizer/digests.json: a digest of the references' ids of every document, of a corpus that is the same on every
machine. check_digests.py compares with them, and needs no reference.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import time

import numpy
import sentencepiece
import tokenizers

import corpus

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# What the authors' own tokenizer.json says for the pre-tokenizers that the GGUF files here name: (normalizer, pre_tokenizer).
PRE_TOKENIZERS = {
    "smollm": (None, {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                                            dict(BYTE_LEVEL, use_regex=True)]}),
    "qwen2": ({"type": "NFC"}, {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False}, BYTE_LEVEL]}),
}


def reference_of_gguf(path):
    """A tokenizer.json with the vocabulary, merges and added tokens of a GGUF file."""
    from gguf import GGUFReader
    fields = GGUFReader(path).fields

    def values(key):
        field = fields["tokenizer.ggml." + key]
        return [bytes(field.parts[i]).decode() if field.types[-1].name == "STRING" else int(field.parts[i][0]) for i in field.data]
    tokens, types = values("tokens"), values("token_type")
    normalizer, pre_tokenizer = PRE_TOKENIZERS[fields["tokenizer.ggml.pre"].contents()]
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": types[i] == 3}
             for i, t in enumerate(tokens) if types[i] in (3, 4)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": None, "decoder": BYTE_LEVEL,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "vocab": {t: i for i, t in enumerate(tokens)}, "merges": values("merges")}}


def read_ids(path):
    data = numpy.fromfile(path, dtype=numpy.int32)
    at, out = 0, []
    while at < len(data):
        out.append(data[at + 1:at + 1 + data[at]])
        at += 1 + data[at]
    return out


def digest(ids):
    """Eight hexadecimal digits for the ids of a document."""
    return hashlib.sha256(numpy.asarray(ids, dtype="<i4").tobytes()).hexdigest()[:8]


class Comparison:
    def __init__(self, program, folder, size, code_share):
        self.program, self.folder, self.failed = program, folder, False
        self.documents = list(corpus.documents(size, code_share=code_share))
        self.digests = {}  # of the references' ids, by the tokenizer's file
        self.texts = [d.decode(errors="replace") for d in self.documents]
        self.bytes = sum(map(len, self.documents))
        self.input = folder / "documents.bin"
        self.input.write_bytes(corpus.pack(self.documents))
        print(f"{len(self.documents)} documents, {self.bytes} bytes, sha256 {hashlib.sha256(self.input.read_bytes()).hexdigest()[:16]}", flush=True)

    def encode(self, tokenizer, trusted):
        output = self.folder / "ids.bin"
        command = [self.program, str(tokenizer), str(self.input), str(output)] + (["trusted"] if trusted else [])
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return read_ids(output), run.stdout.strip()

    def report(self, name, expected, found, figures):
        self.digests[name] = "".join(digest(ids) for ids in expected)
        differing = [i for i, (a, b) in enumerate(zip(expected, found)) if not numpy.array_equal(a, b)]
        if len(expected) != len(found):
            differing.append(min(len(expected), len(found)))
        print(f"{name}: {self.bytes} bytes, {sum(map(len, expected))} ids, {len(differing)} documents differ ({figures})", flush=True)
        for i in differing[:3]:
            a, b = expected[i], found[i]
            at = next((j for j, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            print(f"  document {i}, id {at}: expected {a[max(0, at - 3):at + 6].tolist()}, found {b[max(0, at - 3):at + 6].tolist()}")
            yield i, at
        self.failed |= bool(differing)

    def with_huggingface(self, reference, tokenizer_files):
        started = time.time()
        huggingface = tokenizers.Tokenizer.from_file(str(reference))
        expected = []
        for first in range(0, len(self.texts), 256):
            batch = huggingface.encode_batch_fast(self.texts[first:first + 256], add_special_tokens=False)
            expected += [numpy.array(e.ids, dtype=numpy.int32) for e in batch]
        print(f"  Hugging Face took {time.time() - started:.1f} s", flush=True)
        for file in tokenizer_files:
            found, figures = self.encode(file, trusted=True)
            for i, at in self.report(pathlib.Path(file).name, expected, found, figures):
                print("  text:", ascii(huggingface.decode(expected[i][max(0, at - 3):at + 6].tolist(), skip_special_tokens=False)))

    def with_sentencepiece(self, model):
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        expected = [numpy.array(ids, dtype=numpy.int32) for ids in processor.encode(self.texts, num_threads=2)]
        found, figures = self.encode(model, trusted=False)
        for i, at in self.report(model.name, expected, found, figures):
            print("  pieces:", ascii([processor.id_to_piece(int(p)) for p in expected[i][max(0, at - 3):at + 6]]))


def train_sentencepiece(folder, kind):
    """A small model, trained on the seeds and some code."""
    prefix = folder / f"small_{kind}"
    lines = [line for seed in corpus.SEEDS.values() for line in seed.splitlines() if line.strip()]
    (folder / "sentences.txt").write_text("\n".join(lines * 3), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(input=str(folder / "sentences.txt"), model_prefix=str(prefix), model_type=kind, vocab_size=1800 if kind == "unigram" else 2400,
                                             byte_fallback=True, character_coverage=0.98, user_defined_symbols=["<sep>", "💡"], hard_vocab_limit=kind != "unigram", minloglevel=2, num_threads=1)
    return prefix.with_suffix(".model")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gguf", action="append", default=[])
    parser.add_argument("--json", action="append", default=[])
    parser.add_argument("--pair", action="append", nargs=2, default=[])
    parser.add_argument("--model", action="append", type=pathlib.Path, default=[])
    parser.add_argument("--bytes", type=int, default=20_500_000)
    parser.add_argument("--write", type=pathlib.Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(args.program, args.folder, args.bytes, code_share=0 if args.write else 0.3)
    for path in args.gguf:
        name = pathlib.Path(path).stem
        reference = args.folder / (name + ".tokenizer.json")
        reference.write_text(json.dumps(reference_of_gguf(path), ensure_ascii=False), encoding="utf-8")
        comparison.with_huggingface(reference, [path] if args.write else [path, reference])
    for path in args.json:
        comparison.with_huggingface(path, [path])
    for gguf, path in args.pair:
        comparison.with_huggingface(path, [gguf, path])
    for model in args.model or [train_sentencepiece(args.folder, kind) for kind in ("unigram", "bpe")]:
        comparison.with_sentencepiece(model)
    if args.write:
        corpus_digest = hashlib.sha256(comparison.input.read_bytes()).hexdigest()
        args.write.write_text(json.dumps({"bytes": args.bytes, "corpus": corpus_digest, "digests": comparison.digests}, indent=1) + "\n")
    print("ids differ" if comparison.failed else "all ids are equal", flush=True)
    return 1 if comparison.failed else 0


if __name__ == "__main__":
    sys.exit(main())
