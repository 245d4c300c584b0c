"""moebox.data: the command's own shards, their documents, and the trainer's batches."""

import json

import moebox
import numpy
import pytest


@pytest.fixture
def tokenizer(tmp_path, story):
    return moebox.tokenizer.train(story, vocabulary=400, out=tmp_path / "tokenizer")


@pytest.fixture
def shards(tmp_path, story, tokenizer):
    moebox.data.build(
        sources=[{"path": str(story), "document": "line"}], out=tmp_path / "shards", tokenizer=tmp_path / "tokenizer", held_out=0.1
    )
    return tmp_path / "shards"


def test_the_same_shards_as_the_command(tmp_path, story, tokenizer, program):
    calls = []
    report = moebox.data.build(
        story, out=tmp_path / "own", tokenizer=tmp_path / "tokenizer", domain="tales", progress=lambda *of: calls.append(of)
    )
    program("data", "build", "--tokenizer", tmp_path / "tokenizer", "--domain", "tales", "--out", tmp_path / "commands", story)
    own = json.loads((tmp_path / "own" / "dataset.json").read_text())
    theirs = json.loads((tmp_path / "commands" / "dataset.json").read_text())
    assert own["shards"] == theirs["shards"]
    assert report.shards == 1 and report.domains["tales"]["kept"]["documents"] == 1
    assert report.tokenizer == tokenizer.digest


def test_documents_are_the_texts(shards, story, tokenizer):
    train, held_out = moebox.data.DataSet(shards), moebox.data.DataSet(shards, split="held_out")
    lines = story.read_text().splitlines()
    assert 0 < len(held_out) < 150 and len(train) + len(held_out) == len(set(lines))
    end = tokenizer.special_ids["eos"]
    texts = set()
    for document in train:
        assert document.dtype == numpy.int32 and document[-1] == end
        texts.add(tokenizer.decode(document[:-1]))
    assert texts <= set(lines)
    assert train.n_tokens == sum(len(document) for document in train)
    assert numpy.array_equal(train[-1], train[len(train) - 1]) and len(train[2:5]) == 3
    assert train.mask(0).tolist() == [1] * len(train[0])
    assert [domain.name for domain in train.domains] == ["text"]
    assert train.vocabulary_size == len(tokenizer) and train.tokenizer == tokenizer.digest
    for index in (len(train), -len(train) - 1):
        with pytest.raises(IndexError):
            _ = train[index]


def test_batches_are_packed_rows_that_go_on_exactly(shards):
    data = moebox.data.DataSet(shards)
    batches = data.batches(4, 64, seed=3)
    first = next(batches)
    for array in (first.tokens, first.targets, first.mask, first.documents, first.positions):
        assert array.shape == (4, 64)
    learnt = first.mask == 1
    assert first.n_learnt == learnt.sum() > 200
    follows = (first.documents[:, :-1] == first.documents[:, 1:]) & (first.documents[:, 1:] >= 0)
    assert (first.targets[:, :-1][follows] == first.tokens[:, 1:][follows]).all()
    state = batches.save()
    second = next(batches)
    again = data.batches(4, 64, seed=3)
    again.restore(state)
    assert numpy.array_equal(next(again).tokens, second.tokens)
    halves = [next(data.batches(4, 64, seed=3, rank=rank, world=2)).tokens for rank in (0, 1)]
    assert numpy.array_equal(numpy.concatenate(halves), first.tokens)
    skipped = data.batches(4, 64, seed=3)
    skipped.skip(1)
    assert numpy.array_equal(next(skipped).tokens, second.tokens)
    once = sum(batch.n_learnt for batch in data.batches(4, 64, repeat=False))
    assert once == data.n_tokens - len(data)


def test_filters_and_conversations(tmp_path, smollm):
    chats = tmp_path / "chats.jsonl"
    rows = [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": f"Hello {i}!"}] for i in range(5)]
    chats.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    report = moebox.data.build(
        sources=[{"path": str(chats), "messages": "messages", "domain": "chat", "weight": 1}],
        filters={"unicode": "nfc", "exact_duplicates": True},
        out=tmp_path / "shards",
        tokenizer=smollm,
    )
    assert report.domains["chat"]["kept"]["documents"] == 5
    data = moebox.data.DataSet(tmp_path / "shards", tokenizer=smollm)
    tokenizer = moebox.Tokenizer(smollm)
    learnt = {tokenizer.decode(ids[data.mask(i) == 1]).strip() for i, ids in enumerate(data)}
    assert learnt == {f"Hello {i}!" for i in range(5)}


def test_errors(tmp_path, story, shards, smollm):
    words = tmp_path / "tokenizer"
    with pytest.raises(moebox.Error) as caught:
        moebox.data.build(story, out=tmp_path / "x", tokenizer=words, filters={"qualty": True})
    assert "quality" in caught.value.hint
    with pytest.raises(moebox.Error) as caught:
        moebox.data.build(tmp_path / "none.txt", out=tmp_path / "x", tokenizer=words)
    assert caught.value.kind == "not_found"
    with pytest.raises(moebox.Error, match="inputs or sources"):
        moebox.data.build(out=tmp_path / "x", tokenizer=words)
    with pytest.raises(moebox.Error):
        moebox.data.build(story, out=shards, tokenizer=words)
    assert not (tmp_path / "x").exists() and len(moebox.data.DataSet(shards)) > 0
    with pytest.raises(moebox.Error, match="tokenizer"):
        moebox.data.DataSet(shards, tokenizer=smollm)
    with pytest.raises(moebox.Error) as caught:
        moebox.data.DataSet(shards).batches(0, 64)
    assert caught.value.where == "rows"
    shard = next(shards.glob("*.safetensors"))
    damaged = bytearray(shard.read_bytes())
    damaged[-1] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(moebox.Error) as caught:
        moebox.data.DataSet(shards, split="train" if "train" in shard.name else "held_out")
    assert shard.name in caught.value.where


def test_what_progress_raises_ends_the_build(tmp_path, story, tokenizer):
    def stop(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        moebox.data.build(story, out=tmp_path / "x", tokenizer=tmp_path / "tokenizer", progress=stop)
