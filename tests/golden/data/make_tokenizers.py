#!/usr/bin/env python3
"""Makes the golden data of tests/data/build_tokenizer_test.cpp: what the trainer of Hugging Face tokenizers 0.23.3 learns from small texts.

  make_tokenizers.py

Writes beside itself tokenizers.json: texts, and for each case the vocabulary by id and the merges. The texts are this script's own.
Needs: tokenizers==0.23.3
"""
import json
import pathlib
import random

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent

WORDS_1 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS_3 = WORDS_1.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
DEEPSEEK_V3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(regex):
    return pre_tokenizers.Split(Regex(regex), "isolated")


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


FAMILIES = {
    "gpt-2": (None, lambda: pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "smollm": (None, lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])),
    "qwen2": (normalizers.NFC, lambda: pre_tokenizers.Sequence([split(WORDS_1), byte_level()])),
    "llama-bpe": (None, lambda: pre_tokenizers.Sequence([split(WORDS_3), byte_level()])),
    "deepseek-v3": (None, lambda: pre_tokenizers.Sequence(
        [split(r"\p{N}{1,3}"), split(r"[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK_V3), byte_level()])),
}

ENGLISH = """The mill stood where the river turned, and the miller's daughter counted the sacks each evening.
"Twelve," she'd say, "and the thirteenth is torn." She never said more than that; the river said the rest.

In winter the wheel froze. In 1987 it froze on the 3rd of December, and the sacks (all 412 of them) stayed where they were.
\tWhen the ice broke, the wheel broke too -- first one spoke, then another, then all of them at once.
"""
CHINESE = """磨坊在河转弯的地方，磨坊主的女儿每天傍晚数麻袋。“十二个，”她说，“第十三个破了。”
她从来不多说一句；其余的话由河水来说。冬天水轮结了冰，1987年12月3日，所有的412个麻袋都留在原地。

冰裂开的时候，水轮也裂开了：先是一根辐条，然后又一根，最后全部一起裂开。
"""
CODE = """def count(sacks, torn=()):
    total = 0
    for i, sack in enumerate(sacks):
        if i not in torn:
            total += sack.weight * 2
    return total


class Wheel:
    def __init__(self, spokes=12):
        self.spokes = [Spoke(i) for i in range(spokes)]
"""


def texts():
    rng = random.Random(7)
    ties = "".join(rng.choice(["ab", "ba", "aab", "bba", "cd", "dc"]) + rng.choice([" ", "", "\n"]) for _ in range(400))
    runs = "a" * 7 + " " + "aaaa aaaaa aa aaa " * 9 + "\n" * 5 + "abab" * 6 + " " + "=" * 40 + "\n" + "=" * 13 + " ==== ==\n"
    odd = "cafe\u0301 na\u00efve \u212b \uac00\u1100\u1161 \U0001f600\U0001f600 \u00a0x\u3000y\r\nz\r\r\n\n <|end|> <|end|> <|en\n" * 5
    return {"english": ENGLISH, "chinese": CHINESE, "code": CODE, "ties": ties, "runs": runs, "odd": odd,
            "empty": " "}


# name of the pre-tokenizer, texts, size, special tokens, least frequency, line by line
CASES = [
    ("gpt-2", ["english"], 400, ["<|endoftext|>"], 0, False),
    ("gpt-2", ["english", "chinese", "code"], 700, ["<|endoftext|>", "<|a|>"], 0, True),
    ("qwen2", ["english", "chinese", "code", "odd"], 800, ["<|endoftext|>"], 0, False),
    ("qwen2", ["chinese"], 420, [], 2, True),
    ("llama-bpe", ["english", "chinese", "code"], 600, ["<s>"], 3, False),
    ("deepseek-v3", ["english", "chinese", "code", "odd"], 650, ["<s>"], 0, False),
    ("smollm", ["english", "code", "odd"], 500, ["<|endoftext|>"], 0, False),
    ("gpt-2", ["ties"], 330, ["<|endoftext|>"], 0, False),
    ("gpt-2", ["runs"], 100000, ["==", "<|endoftext|>"], 0, False),
    ("qwen2", ["runs", "ties"], 320, ["aa", "<|endoftext|>"], 0, False),
    ("gpt-2", ["odd"], 500, ["<|end|>", "<|en"], 0, False),
    ("gpt-2", ["empty"], 300, ["<|endoftext|>"], 0, False),
]


def train(name, parts, size, special, least, by_line):
    normalizer, splitter = FAMILIES[name]
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer = splitter()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=least, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    sequences = [line for part in parts for line in ((part.splitlines(keepends=True) if by_line else [part]))]
    if by_line:  # a line ends with \n alone, as in train(files)
        sequences = [line + "\n" for part in parts for line in part.removesuffix("\n").split("\n")]
    tokenizer.train_from_iterator(sequences, trainer)
    return tokenizer


def main():
    all_texts = texts()
    cases = []
    for name, parts, size, special, least, by_line in CASES:
        tokenizer = train(name, [all_texts[part] for part in parts], size, special, least, by_line)
        document = json.loads(tokenizer.to_str())
        vocabulary = document["model"]["vocab"]
        by_id = [token for token, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
        assert [vocabulary[token] for token in by_id] == list(range(len(by_id)))
        cases.append({"pre_tokenizer": name, "texts": parts, "size": size, "special": special, "least": least, "by_line": by_line,
                      "frame": {key: document[key] for key in ("normalizer", "pre_tokenizer", "decoder")},
                      "vocabulary": by_id, "merges": document["model"]["merges"]})
    result = {"tokenizers": tokenizers.__version__, "texts": all_texts, "cases": cases}
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":")).replace('},{"pre', '},\n{"pre').replace(',"vocabulary', ',\n"vocabulary')
    (HERE / "tokenizers.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
