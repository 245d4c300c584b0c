#!/usr/bin/env python3
"""Writes unigram.json: unigram tokenizers as tokenizer.json has them, texts in several languages, and what Hugging Face makes of them.

    make_unigram.py              needs tokenizers==0.23.3

For each tokenizer: the file, and the ids of every text without and with special tokens. The vocabularies are trained here on the seeds of
tests/tokenizer/corpus.py; the character map is that of ../tokenizer/small_unigram.json. `convertible` is false where SentencePiece, whose
rules GGUF states, cannot do what the file says.
"""
import gzip
import json
import pathlib
import sys

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, trainers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tokenizer"))
import corpus  # noqa: E402

CHARSMAP = json.loads((HERE.parent / "tokenizer" / "small_unigram.json").read_text())["normalizer"]["normalizers"][0]
WORDS = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
                                               {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]}


def metaspace(scheme):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": scheme != "never"}


def sequence(*parts):
    return {"type": "Sequence", "normalizers": list(parts)}


SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
# name: normalizer, pre-tokenizer, byte fallback, whether GGUF can say it
KINDS = {
    "t5": (CHARSMAP, WORDS, False, True),  # T5's and XLM-RoBERTa's own
    "t5_bytes": (CHARSMAP, WORDS, True, True),
    "llama": (sequence({"type": "Prepend", "prepend": "▁"}, SPACES), None, True, True),
    "no_prefix": (None, metaspace("never"), True, True),
    "strip": (sequence(CHARSMAP, {"type": "Strip", "strip_left": True, "strip_right": True},
                       {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}), metaspace("always"), True, True),
    # A text that begins with a blank gets no prefix, which SentencePiece gives any text; or is changed as no rule of its says.
    "prefix_if_none": (None, metaspace("always"), True, False),
    "lower": (sequence(CHARSMAP, {"type": "Lowercase"}), WORDS, True, False),
    "nfkc": ({"type": "NFKC"}, metaspace("never"), True, False),
}
TEXTS = [
    "The quick brown fox jumps over 13 lazy dogs.", "the experts of a layer", "Hello,   world!", "  leading and trailing  ", "a", "",
    "她在市场买了三斤苹果。今天天气很好，我们去公园吧！", "模型的专家层 mixture of experts", "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "Привет, мир! Как дела?", "naïve café, Übergröße; ｆｕｌｌ　ｗｉｄｔｈ ﬁt", "emoji 😀 and 🜁 unknown 𒀀 signs", "tabs\tand\nlines\n\nhere",
    "def f(x):\n    return x + 1\n",
]


def lines():
    for name in ("english", "chinese", "code"):
        yield from corpus.SEEDS[name].splitlines()
    yield from gzip.open(HERE.parent / "llama_cpp" / "english.txt.gz", "rt", encoding="utf-8").read()[:20000].splitlines()
    yield from TEXTS[6:10] * 20


def trained(normalizer, pre_tokenizer, byte_fallback):
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
                "post_processor": None, "decoder": metaspace("always"), "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]}}
    tokenizer = Tokenizer.from_str(json.dumps(document))
    specials = ["<pad>", "</s>", "<unk>"] + ([f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else [])
    tokenizer.train_from_iterator(lines(), trainers.UnigramTrainer(vocab_size=len(specials) + 700, special_tokens=specials, unk_token="<unk>",
                                                                   show_progress=False))
    result = json.loads(tokenizer.to_str())
    result["model"]["byte_fallback"] = byte_fallback
    result["added_tokens"] = [token for token in result["added_tokens"] if token["content"] in ("<pad>", "</s>", "<unk>")]
    result["post_processor"] = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                                "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}}
    result["model"]["vocab"] = [[piece, round(score, 4)] for piece, score in result["model"]["vocab"]]
    return result


def main():
    cases = []
    for name, (normalizer, pre_tokenizer, byte_fallback, convertible) in KINDS.items():
        file = trained(normalizer, pre_tokenizer, byte_fallback)
        reference = Tokenizer.from_str(json.dumps(file))
        plain, whole = ([reference.encode(text, add_special_tokens=special).ids for text in TEXTS] for special in (False, True))
        print(name, len(file["model"]["vocab"]), plain[:2])
        cases.append({"name": name, "convertible": convertible, "tokenizer": file, "plain": plain, "whole": whole})
    (HERE / "unigram.json").write_text(json.dumps({"texts": TEXTS, "cases": cases}, ensure_ascii=False, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n",
                                       encoding="utf-8")


main()
