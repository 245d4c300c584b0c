#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets tokenizer_json and tokenizer_gguf: small tokenizers of every kind, without a model behind them.

  fuzz/make_tokenizer_seeds.py     writes fuzz/corpus/tokenizer_json/ and fuzz/corpus/tokenizer_gguf/
"""
import base64
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"
BYTES = [chr(c) for c in [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100), *range(0x100, 0x144)]]  # GPT-2's byte map


def added(id, content, **options):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} | options


def bpe(vocab, merges, **options):
    return {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: id for id, token in enumerate(vocab)}, "merges": merges} | options


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def document(model, tokens, normalizer=None, pre_tokenizer=None, decoder=None, post_processor=None):
    return {"version": "1.0", "added_tokens": tokens, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
            "post_processor": post_processor, "decoder": decoder, "model": model}


def json_seeds():
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    words = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [258], "tokens": ["<s>"]}}}
    yield "byte_level", document(bpe(BYTES + ["aa", "\u0120a"], ["a a", "\u0120 a"]), [added(258, "<s>"), added(259, "<|im_end|>", special=False, rstrip=True)],
                                 {"type": "NFC"}, {"type": "Sequence", "pretokenizers": [split(words), byte_level]}, byte_level, template)
    yield "fallback", document(bpe(["<unk>", *(f"<0x{b:02X}>" for b in range(256)), "\u2581", "a", "\u2581a", "aa"], [["\u2581", "a"], ["a", "a"]],
                                   byte_fallback=True, fuse_unk=True, unk_token="<unk>"), [added(0, "<unk>")],
                               {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
                               None, {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                                                                       {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})
    charsmap = base64.b64encode(struct.pack("<II", 4, 0xFFFFFFFF) + b"a\0").decode()
    yield "unigram", document({"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [["<unk>", 0.0], ["\u2581", -2.5], ["a", -3], ["\u2581aa", -1.5]]},
                              [added(4, "<x>", normalized=True, special=False, single_word=True, lstrip=True)],
                              {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": charsmap}, {"type": "NFKC"}, {"type": "Lowercase"},
                                                                   {"type": "StripAccents"}, {"type": "Strip", "strip_left": True, "strip_right": True}]},
                              {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True},
                              {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"})
    yield "steps", document(bpe(["a", "b", "ab", "[UNK]"], ["a b"], unk_token="[UNK]"), [],
                            {"type": "Replace", "pattern": {"Regex": "(b|c)+?x"}, "content": "ab"},
                            {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, {"type": "Punctuation", "behavior": "Contiguous"},
                                                                   {"type": "WhitespaceSplit"}, {"type": "Whitespace"}, {"type": "CharDelimiterSplit", "delimiter": "-"},
                                                                   split("a(?=b)", "MergedWithPrevious"), split(r"\w+$", "MergedWithNext", True),
                                                                   {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}]},
                            None, {"type": "RobertaProcessing", "sep": ["b", 1], "cls": ["a", 0], "trim_offsets": True, "add_prefix_space": False})


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key, value):
    """A GGUF entry: a bool, an int (u32), a float, a string, or a list of strings, floats or ints (i32)."""
    kinds = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f")}
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if not isinstance(value, list):
        kind, form = kinds[type(value)]
        return text(key) + struct.pack("<I", kind) + struct.pack(form, value)
    head = text(key) + struct.pack("<I", 9)
    if isinstance(value[0], str):
        return head + struct.pack("<IQ", 8, len(value)) + b"".join(map(text, value))
    kind, form = (6, "<f") if isinstance(value[0], float) else (5, "<i")
    return head + struct.pack("<IQ", kind, len(value)) + b"".join(struct.pack(form, v) for v in value)


def gguf(entries):
    pairs = {f"tokenizer.ggml.{key}": value for key, value in entries.items()}
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pair(*entry) for entry in pairs.items())


def gguf_seeds():
    few = BYTES[:0x5E] + ["\u0120", "\u010A", "aa", "\u0120a", "<|im_start|>", "<|user|>"]
    yield "byte_level", {"model": "gpt2", "pre": "qwen2", "tokens": few, "token_type": [1] * (len(few) - 2) + [3, 4], "merges": ["a a", "\u0120 a"],
                         "bos_token_id": len(few) - 2, "add_bos_token": True}
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "\u2581", "a", "\u2581a", "<sep>", "no"]
    yield "llama", {"model": "llama", "tokens": pieces, "scores": [0.0] * 259 + [-1.0, -2.0, -0.5, 0.0, -3.0], "token_type": [2, 3, 3] + [6] * 256 + [1, 1, 1, 4, 5],
                    "eos_token_id": 2, "add_space_prefix": True}
    yield "t5", {"model": "t5", "tokens": ["<pad>", "</s>", "<unk>", "\u2581", "a", "\u2581a"], "scores": [0.0, 0.0, 0.0, -1.0, -2.0, -1.5], "token_type": [3, 3, 2, 1, 1, 1],
                 "precompiled_charsmap": [4, 0, 0, 0, -1, -1, -1, -1, 97, 0], "remove_extra_whitespaces": True}


def main():
    for name, seed in json_seeds():
        (CORPUS / "tokenizer_json" / name).write_text(json.dumps(seed, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    for name, seed in gguf_seeds():
        (CORPUS / "tokenizer_gguf" / name).write_bytes(gguf(seed))


if __name__ == "__main__":
    main()
