#!/usr/bin/env python3
"""Makes the golden data of tests/tokenizer: what Hugging Face tokenizers 0.23.3 and sentencepiece 0.2.3 answer.

  make_golden.py MODEL_FOLDER      (the folder with the two GGUF models)

Writes beside itself:
  documents.json   texts in base64, some of them no UTF-8
  splits.json      pre-tokenizers, texts, pieces
  normal.json      normalizers, texts, normalised texts
  decoded.json     decoders, tokens, texts
  small_*.model    SentencePiece models trained on the seeds; small_*.gguf the same as GGUF; small_*.json as tokenizer.json
  small_words.json a byte-level BPE with what tokenizer.json can say about added tokens and templates
  ids.json         per tokenizer and document: number of ids and FNV-1a of them as 32-bit integers
Needs: tokenizers==0.23.3 sentencepiece==0.2.3 gguf==0.19.0 protobuf
"""
import base64
import json
import pathlib
import random
import re
import struct
import sys
import tempfile

import gguf
import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "tokenizer"))
import compare_with_huggingface as compare  # noqa: E402
import corpus  # noqa: E402


def fnv1a(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (HERE / name).write_text(text.replace("},{", "},\n{") + "\n", encoding="utf-8")


def document_with(**parts):
    """A tokenizer.json with the given parts and next to no vocabulary."""
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None,
                "post_processor": None, "decoder": None, "model": {"type": "BPE", "vocab": {}, "merges": []}}
    document.update(parts)
    return tokenizers.Tokenizer.from_str(json.dumps(document))


def split(regex=None, string=None, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex} if regex else {"String": string}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def byte_level(**more):
    return dict({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, **more)


def in_source(name):
    """A long expression of named_pre_tokenizer.cpp: the table is ours, what the expression means is the reference's."""
    source = (ROOT / "src" / "tokenizer" / "named_pre_tokenizer.cpp").read_text()
    definition = re.search(name + r" =(.*?);", source, re.S).group(1)
    return "".join(re.findall(r'R"\((.*?)\)"', definition))


PLAIN = byte_level(use_regex=False)
DIGITS = {"type": "Digits", "individual_digits": True}
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+SUFFIX|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*SUFFIX|NUMBER| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_V3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"
               "\\s*[\r\n]+|\\s+(?!\\S)|\\s+")

# By the name in a GGUF: what the author's tokenizer.json says.
NAMED = {
    "gpt-2": byte_level(),
    "smollm": sequence(DIGITS, byte_level()),
    "command-r": sequence(DIGITS, byte_level()),
    "llama-bpe": sequence(split(compare.QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")), PLAIN),
    "qwen2": sequence(split(compare.QWEN2), PLAIN),
    "deepseek-llm": sequence(split("[\r\n]"), split(in_source("kDeepSeekLetters")), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"),
                             split("[一-龥ࠀ-一가-퟿]+"), split(r"\p{N}+"), PLAIN),
    "deepseek-coder": sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"), split(r"\p{N}"), PLAIN),
    "deepseek-v3": sequence(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK_V3), PLAIN),
    "gpt-4o": sequence(split(CASED.replace("SUFFIX", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("NUMBER", r"\p{N}{1,3}")), PLAIN),
    "tekken": sequence(split(CASED.replace("SUFFIX", "").replace("NUMBER", r"\p{N}")), PLAIN),
}
PRE_TOKENIZERS = [
    byte_level(add_prefix_space=True), sequence(split(r"\d"), byte_level(add_prefix_space=True)), {"type": "Whitespace"}, {"type": "WhitespaceSplit"},
    {"type": "Digits", "individual_digits": False}, DIGITS, {"type": "CharDelimiterSplit", "delimiter": "e"},
    *({"type": "Punctuation", "behavior": b} for b in ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext")),
    *(split(string=" ", behavior=b) for b in ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext")),
    *(split(r"\p{L}+", behavior=b, invert=True) for b in ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext")),
    *({"type": "Metaspace", "replacement": "▁", "prepend_scheme": p, "split": s} for p in ("always", "first", "never") for s in (True, False)),
    sequence({"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}),
    sequence({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(), {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]")),
    # expressions that PCRE2 runs, and corners of those that it does not
    split(r"(?=(\d{3})+(?!\d))"), split(r"\d{1,3}(?=(?:\d{3})*\b)"), split(r"(?:ab|a)+?|[^\S\n]+"), split(r"(?<=[a-z])(?=[A-Z])"), split(r"^\S|\S$"),
    split(r"\s+$"), split(r"\p{Lu}\p{Ll}{2,}|\w\W\w"), split(r"[^a-z\-\]]{2,3}"), split(r"(?i:don|sk|the)\S?"), split(r"(a|an|and)?( |\n)"), split(r"x*"),
    split(r"\p{Han}+|\p{Cyrillic}+"),
]
NORMALIZERS = [
    {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"}, {"type": "Prepend", "prepend": "▁"},
    {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Strip", "strip_left": False, "strip_right": True},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "Replace", "pattern": {"Regex": r"\s{2,}"}, "content": " "},
    {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}, {"type": "StripAccents"}]}, {"type": "Sequence", "normalizers": []},
]
DECODERS = [
    byte_level(), {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
    {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
    {"type": "Sequence", "decoders": [{"type": "Strip", "content": "x", "start": 1, "stop": 2}, {"type": "Fuse"}]}, None,
]
DECODED_TOKENS = [
    ["ĠHello", "Ġworld", "!", "Ċ", "ä½", "ł", "å¥½"], ["▁Hello", "▁", "▁world", "<0xE4>", "<0xBD>", "<0xA0>", "好"], ["a", "▁b▁c", "▁"], ["xaxx", "xx", "bxxx"],
    ["▁two", "▁▁x▁", "Ġ"], ["<0x0A>", "▁x"],
]


def texts(rng):
    """Short texts that hold much."""
    lines = [line for seed in corpus.SEEDS.values() for line in seed.splitlines() if line.strip()]
    out = [line[:rng.choice((30, 60, 90))] for line in lines]
    out += ["", " ", "  ", "a", " a", "  a", "a  ", "\n", " \n a\n\n", "a\r\n\r\n b", "\u3000a\u00a0b\u2028", "don't DON'T 'sup 'ſo'K'LL", "x" * 50, " " * 50,
            "1234567 ½ Ⅻ ١٢٣ 12,345.67", "HTTPServerError camelCase", "a\u0301\u0323 e\u0301", "\U00011DE0\U00010D40 \U00016FF4", "<|im_end|> <0x0A> ▁▁x▁"]
    out += [corpus.random_code_points(rng, 25) for _ in range(12)] + [corpus.marks(rng, 30) for _ in range(6)]
    return out


def make_splits(rng):
    some = texts(rng)
    cases = []
    for name, spec in [*NAMED.items(), *(("", s) for s in PRE_TOKENIZERS)]:
        pre = document_with(pre_tokenizer=spec).pre_tokenizer
        chosen = some if name in ("qwen2", "deepseek-v3", "gpt-4o", "deepseek-llm") else rng.sample(some, 20)
        cases.append({"name": name, "spec": spec, "cases": [[t, [p for p, _ in pre.pre_tokenize_str(t)]] for t in chosen]})
    write("splits.json", cases)


def make_normal(rng):
    some = texts(rng) + ["".join(chr(c) for c in range(first, first + 64)) for first in (0xC0, 0x1E80, 0x1F00, 0x2100, 0x3040, 0xF900, 0xFB00, 0xFF00, 0x1D400)]
    cases = []
    for spec in NORMALIZERS:
        normal = document_with(normalizer=spec).normalizer
        cases.append({"spec": spec, "cases": [[t, normal.normalize_str(t)] for t in some if normal.normalize_str(t) != t][:25] + [[t, normal.normalize_str(t)] for t in some[:4]]})
    write("normal.json", cases)


def make_decoded():
    cases = []
    for spec in DECODERS:
        for pieces in DECODED_TOKENS:
            vocabulary = {p: i for i, p in enumerate(dict.fromkeys(pieces))}
            model = document_with(decoder=spec, model={"type": "BPE", "vocab": vocabulary, "merges": []})
            if spec and "Strip" in str(spec) and any(p in ("a", "xx", "▁") for p in pieces) and "x" in str(spec["decoders"][0]):
                continue  # the reference panics where it strips more than there is
            ids = [vocabulary[p] for p in pieces]
            cases.append({"spec": spec, "tokens": list(vocabulary), "ids": ids, "text": model.decode(ids)})
    write("decoded.json", cases)


# A small character map with every kind of rule: one to one, one to many, many to one, to nothing, prefixes of each other.
RULES = [("\u3000", " "), ("\u00a0", " "), ("\t", " "), ("\n", " "), ("\u00ad", ""), ("\u200b", ""), ("\ufb01", "fi"), ("\ufb03", "ffi"), ("\u2126", "\u03a9"), ("\u2460", "1"),
         ("e\u0301", "\u00e9"), ("e\u0301\u0323", "\u1eb9\u0301"), ("a\u0308", "\u00e4"), ("\u304b\u3099", "\u304c"), ("\u1100\u1161", "\uac00"), ("\u1100\u1161\u11a8", "\uac01"),
         ("\u2026", "..."), ("\u33a1", "m2"), ("\u2122", "TM"), ("\U0001d538", "A"), ("\uff61", "\u3002"), *((chr(0xFEE0 + c), chr(c)) for c in range(0x21, 0x7F))]


def train(kind, folder, **options):
    if options["model_type"] == "unigram" and "normalization_rule_name" not in options:
        rules = pathlib.Path(folder) / "rules.tsv"
        rules.write_text("".join(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n" for a, b in RULES))
        options["normalization_rule_tsv"] = str(rules)
    prefix = pathlib.Path(folder) / kind
    (pathlib.Path(folder) / "sentences.txt").write_text("\n".join(line for seed in corpus.SEEDS.values() for line in seed.splitlines() if line.strip()), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(input=f"{folder}/sentences.txt", model_prefix=str(prefix), minloglevel=2, num_threads=1, hard_vocab_limit=options["model_type"] != "unigram", user_defined_symbols=["<sep>", "💡"],
                                             **options)
    return prefix.with_suffix(".model").read_bytes()


def sentencepiece_gguf(path, proto, model):
    """The same model as llama.cpp's converter writes it."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre("default")
    writer.add_token_list([p.piece for p in proto.pieces])
    writer.add_token_scores([p.score for p in proto.pieces])
    writer.add_token_types([p.type for p in proto.pieces])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
    writer.add_remove_extra_whitespaces(proto.normalizer_spec.remove_extra_whitespaces)
    if proto.normalizer_spec.precompiled_charsmap:
        writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def sentencepiece_json(proto, unigram):
    """The same model as transformers' converter writes it."""
    pieces = [p.piece for p in proto.pieces]
    added = [{"id": i, "content": p.piece, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": p.type != 4}
             for i, p in enumerate(proto.pieces) if p.type in (2, 3, 4)]
    charsmap = base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "post_processor": {
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}}
    if unigram:
        metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        document["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": charsmap},
                                                                      {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}
        document["pre_tokenizer"], document["decoder"] = metaspace, metaspace
        document["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [[p.piece, p.score] for p in proto.pieces], "byte_fallback": True}
    else:
        known = {p.piece: p.score for p in proto.pieces if p.type == 1}
        merges = [(-known[p], len(p[:i]), p[:i], p[i:]) for p in known for i in range(1, len(p)) if p[:i] in known and p[i:] in known]
        document["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                                                                      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
        document["pre_tokenizer"] = None
        document["decoder"] = DECODERS[3]
        document["model"] = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                             "byte_fallback": True, "ignore_merges": False, "vocab": {p: i for i, p in enumerate(pieces)},
                             "merges": [[a, b] for _, _, a, b in sorted(merges)]}
    return document


def words_json():
    """A byte-level BPE with every kind of added token."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=900, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([corpus.ENGLISH, corpus.CODE], trainer)
    document = json.loads(tokenizer.to_str())
    first = len(document["model"]["vocab"])
    added = []
    for content, options in [("<|start|>", {"special": True}), ("<|end|>", {"special": True}), ("<left>", {"lstrip": True}), ("<right>", {"rstrip": True}), ("word", {"single_word": True}),
                             ("<|st", {}), ("<|start|><|end|>", {"special": True}), ("Ünïcode", {"normalized": True}), ("\n\n", {}), ("<both>", {"lstrip": True, "rstrip": True, "special": True}),
                             ("<|Normal|>", {"normalized": True, "special": True})]:
        entry = {"id": first + len(added), "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        entry.update(options)
        added.append(entry)
    document["added_tokens"] = added
    document["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}
    document["pre_tokenizer"] = byte_level()
    document["decoder"] = byte_level()
    document["post_processor"] = {"type": "Sequence", "processors": [byte_level(), {
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|end|>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {c: {"id": c, "ids": [first + i], "tokens": [c]} for i, c in ((0, "<|start|>"), (1, "<|end|>"))}}]}
    return document


def added_texts(rng, document):
    contents = [t["content"] for t in document["added_tokens"]]
    parts = contents * 3 + [" ", "  ", "\n", "a", "words", "word", "password word!", "ÜNÏCODE ünïcode", "ＷＯＲＤ", "<|", "end|>", "<|normal|>", "<|NORMAL|>", "ﬁ", "é"]
    return ["".join(rng.choice(parts) for _ in range(rng.randrange(1, 12))) for _ in range(120)]


def main():
    models = pathlib.Path(sys.argv[1])
    rng = random.Random(7)
    make_splits(rng)
    make_normal(rng)
    make_decoded()

    documents = list(corpus.documents(150_000, seed=3, code_share=0, lengths=(60, 200, 600, 2000)))
    document_texts = [d.decode(errors="replace") for d in documents]
    write("documents.json", [base64.b64encode(d).decode() for d in documents])

    answers = {}

    def answer(name, ids):
        answers[name] = [[len(i), fnv1a(i)] for i in ids]

    for file in ("smollm2-135m-instruct-q4_1", "qwen2.5-coder-0.5b-instruct-q4_k_m"):
        reference = tokenizers.Tokenizer.from_str(json.dumps(compare.reference_of_gguf(models / (file + ".gguf"))))
        answer(file + ".gguf", [reference.encode(t, add_special_tokens=False).ids for t in document_texts])
    with tempfile.TemporaryDirectory() as folder:
        for name, options in {
            "small_unigram": dict(model_type="unigram", vocab_size=1750, byte_fallback=True, character_coverage=0.98),
            "small_unknown": dict(model_type="unigram", vocab_size=1450, character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
                                  add_dummy_prefix=False, treat_whitespace_as_suffix=True),
            "small_bpe": dict(model_type="bpe", vocab_size=1800, byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False),
        }.items():
            data = train(name, folder, **options)
            (HERE / (name + ".model")).write_bytes(data)
            proto = sentencepiece_model_pb2.ModelProto.FromString(data)
            processor = sentencepiece.SentencePieceProcessor(model_proto=data)
            answer(name + ".model", processor.encode(document_texts))
            if name == "small_unknown":
                continue
            sentencepiece_gguf(HERE / (name + ".gguf"), proto, "t5" if options["model_type"] == "unigram" else "llama")
            document = sentencepiece_json(proto, options["model_type"] == "unigram")
            (HERE / (name + ".json")).write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
            reference = tokenizers.Tokenizer.from_str(json.dumps(document))
            answer(name + ".json", [reference.encode(t, add_special_tokens=False).ids for t in document_texts])
    document = words_json()
    (HERE / "small_words.json").write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    reference = tokenizers.Tokenizer.from_str(json.dumps(document))
    answer("small_words.json", [reference.encode(t, add_special_tokens=False).ids for t in document_texts])
    write("added.json", [[t, reference.encode(t, add_special_tokens=True).ids, reference.decode(reference.encode(t).ids, skip_special_tokens=False)] for t in added_texts(rng, document)])
    write("ids.json", answers)


if __name__ == "__main__":
    main()
