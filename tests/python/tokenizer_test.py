"""moebox.Tokenizer: Hugging Face's ids, by the golden files of tests/tokenizer; bytes; templates; training."""

import base64
import json
import pathlib
import struct

import moebox
import pytest
from conftest import GOLDEN, model_file

TOKENIZERS = ["smollm2-135m-instruct-q4_1.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "small_bpe.json", "small_unigram.json"]


def fnv(ids):
    """FNV-1a of the ids as 32-bit integers: what make_golden.py writes."""
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def tokenizer_of(name, tmp_path):
    if name.endswith(".gguf"):
        return moebox.Tokenizer(model_file(name))
    (tmp_path / "tokenizer.json").write_bytes((GOLDEN / "tokenizer" / name).read_bytes())
    return moebox.Tokenizer(tmp_path)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_ids_of_hugging_face(name, tmp_path):
    documents = [base64.b64decode(text) for text in json.loads((GOLDEN / "tokenizer" / "documents.json").read_text())]
    wanted = json.loads((GOLDEN / "tokenizer" / "ids.json").read_text())[name]
    tokenizer = tokenizer_of(name, tmp_path)
    # Hugging Face's tokenizers find control tokens everywhere.
    found = [[len(ids), fnv(ids)] for ids in (tokenizer.encode(document, special=True) for document in documents)]
    assert found == wanted and len(wanted) > 100


def test_bytes_come_back(smollm):
    tokenizer = moebox.Tokenizer(smollm)
    for text in ["", "Hello, 世界 🌍", "e\u0301", "tab\tand\nline", "<|im_end|>"]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode_bytes(ids) == text.encode()
        assert tokenizer.count(text) == len(ids)
    world = tokenizer.encode("世界")
    assert tokenizer.decode_bytes(world[:1]) and tokenizer.decode(world[:1]).endswith("\ufffd")
    assert tokenizer.encode(b"a\xffb") == tokenizer.encode("a\ufffdb") == tokenizer.encode("a\udcffb"[:1] + "\ufffd" + "b")


def test_control_tokens_only_where_they_are_asked_for(smollm):
    tokenizer = moebox.Tokenizer(smollm)
    end = tokenizer.find("<|im_end|>")
    assert end in tokenizer.end_ids and tokenizer.token_text(end) == "<|im_end|>"
    assert end not in tokenizer.encode("<|im_end|>")
    assert tokenizer.encode("<|im_end|>", special=True) == [end]
    assert tokenizer.decode([end]) == "" and tokenizer.decode([end], show_control=True) == "<|im_end|>"
    assert tokenizer.find("no such token") is None and tokenizer.token_text(10**6) == ""
    assert tokenizer.token_text(2**40) == "" and tokenizer.decode([2**40, -1, end]) == "" and tokenizer.find("\ud800") is None
    assert len(tokenizer) == tokenizer.vocab_size == 49152


def test_the_chat_template(smollm):
    tokenizer = moebox.Tokenizer(smollm)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <|im_end|>"}]
    text = tokenizer.apply_chat_template(messages)
    assert text == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    assert text.startswith(tokenizer.apply_chat_template(messages, add_generation_prompt=False))
    ids = tokenizer.encode_chat(messages)
    assert tokenizer.decode(ids, show_control=True) == text
    # What the user spelled is text; the template's own two are control tokens.
    assert ids.count(tokenizer.find("<|im_end|>")) == 2


def test_a_tokenizer_without_a_template(tmp_path):
    tokenizer = tokenizer_of("small_bpe.json", tmp_path)
    assert not tokenizer.has_chat_template
    with pytest.raises(moebox.Error) as caught:
        tokenizer.encode_chat([{"role": "user", "content": "x"}])
    assert caught.value.kind == "unsupported"


def test_training_is_hugging_faces(tmp_path):
    golden = json.loads((GOLDEN / "data" / "tokenizers.json").read_text())
    cases = [case for case in golden["cases"] if case["special"] and case["texts"] != ["empty"]]
    assert len(cases) > 8
    for number, case in enumerate(cases):
        texts = [tmp_path / f"{number}-{name}.txt" for name in case["texts"]]
        for path, name in zip(texts, case["texts"], strict=True):
            path.write_bytes(golden["texts"][name].encode())
        out = tmp_path / f"tokenizer-{number}"
        moebox.tokenizer.train(
            texts,
            vocabulary=case["size"],
            out=out,
            end_token=case["special"][0],
            special=case["special"][1:],
            pre_tokenizer=case["pre_tokenizer"],
            min_frequency=case["least"],
            by_line=case["by_line"],
        )
        model = json.loads((out / "tokenizer.json").read_text())["model"]
        assert sorted(model["vocab"], key=model["vocab"].__getitem__) == case["vocabulary"]
        assert [list(pair) if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]] == [
            list(pair) if isinstance(pair, list) else pair.split(" ") for pair in case["merges"]
        ]


def test_training_the_same_as_the_command(tmp_path, story, program):
    calls = []
    tokenizer = moebox.tokenizer.train(story, vocabulary=400, out=tmp_path / "own", progress=lambda *of: calls.append(of))
    program("tokenizer", "train", "--vocabulary", 400, "--out", tmp_path / "commands", story)
    assert (tmp_path / "own" / "tokenizer.json").read_bytes() == (tmp_path / "commands" / "tokenizer.json").read_bytes()
    text = story.read_text()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    with pytest.raises(moebox.Error, match="there already"):
        moebox.tokenizer.train(story, vocabulary=400, out=tmp_path / "own")
    with pytest.raises(moebox.Error, match="pre"):
        moebox.tokenizer.train(story, vocabulary=400, out=tmp_path / "x", pre_tokenizer="none such")
    assert "qwen2" in moebox.tokenizer.pre_tokenizers()
    assert not pathlib.Path(tmp_path / "x").exists()
