"""moebox data and moebox tokenizer, as a user meets them. Shards are read here without any of our code: by the format's own rules."""
import hashlib
import json
import os
import struct
import unittest

from program import PROGRAM, SMOL, ProgramTest, read_bytes, read_text

RECIPE = """
tokenizer = "{tokenizer}"
out = "shards"

[filters]
unicode = "nfc"
mask_pii = true

[[source]]
path = "texts/*.txt"
domain = "prose"
weight = 3

[[source]]
path = "rows.jsonl"
field = "body"
domain = "rows"
level = "synthetic"
weight = 1
"""


def read_shard(path):
    content = read_bytes(path)
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + size]), content[8 + size:]
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            code = {"U8": "B", "U16": "H", "U32": "I", "I64": "q"}[entry["dtype"]]
            tensors[name] = list(struct.unpack(f"<{entry['shape'][0]}{code}", data[begin:end]))
    assert hashlib.blake2b(data, digest_size=32).hexdigest() == header["__metadata__"]["checksum"]
    return header["__metadata__"], tensors


class DataTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.write("texts/a.txt", "The mill stood where the river turned.")
        self.write("texts/b.txt", "磨坊在河转弯的地方。Mail a@b.org!")
        self.write("rows.jsonl", '{"body": "one"}\n{"body": "two"}\nnonsense\n{"body": "one"}\n')

    def recipe(self, **changes):
        text = RECIPE.format(tokenizer=SMOL)
        for old, new in changes.values():
            self.assertIn(old, text)
            text = text.replace(old, new)
        return self.write("recipe.toml", text)

    def token_ids(self, text):
        return [int(one) for one in self.run_program("tokenize", SMOL, text)[0].split()]

    def test_a_recipe_becomes_shards_that_anyone_can_read(self):
        _, err = self.run_program("data", "build", self.recipe())
        self.assertIn("rows: 2 of 4 documents kept", err)
        self.assertRegex(err, r"dropped: 1 invalid_json .*\n +dropped: 1 duplicate|dropped: 1 duplicate .*\n +dropped: 1 invalid_json")
        manifest = json.loads(read_text(self.path("shards/dataset.json")))
        self.assertEqual([domain["weight"] for domain in manifest["domains"]], [3.0, 1.0])
        shards = {shard["domain"]: self.path("shards/" + shard["file"]) for shard in manifest["shards"]}
        for entry in manifest["shards"]:
            self.assertEqual(hashlib.blake2b(read_bytes(self.path("shards/" + entry["file"])), digest_size=32).hexdigest(), entry["digest"])
        metadata, tensors = read_shard(shards["prose"])
        self.assertEqual((metadata["domain"], metadata["level"], metadata["tokenizer"]), ("prose", "general", manifest["tokenizer"]))
        first, second = self.token_ids("The mill stood where the river turned."), self.token_ids("磨坊在河转弯的地方。Mail <EMAIL>!")
        end = tensors["tokens"][len(first)]
        self.assertEqual(tensors["tokens"], first + [end] + second + [end])
        self.assertEqual(tensors["document_starts"], [0, len(first) + 1])
        self.assertEqual(self.run_program("tokenize", SMOL, "--decode", "--special", str(end))[0], "<|endoftext|>")

    def test_check_finds_what_is_damaged(self):
        self.run_program("data", "build", self.recipe())
        out, _ = self.run_program("data", "check", "shards", "--tokenizer", SMOL)
        self.assertIn("as it was written", out)
        shard = next(name for name in sorted(os.listdir(self.path("shards"))) if "rows" in name)
        content = read_bytes(self.path("shards/" + shard))
        self.write("shards/" + shard, content[:-1] + bytes([content[-1] ^ 1]))
        _, err = self.run_program("data", "check", "shards", code=4)
        self.assertIn(shard, err)
        self.run_program("data", "check", "nothing", code=3)

    def test_recipes_are_strict(self):
        for old, new, parts in (("unicode", "unicod", [":6: [filters]", "there is no key 'unicod'", "did you mean 'unicode'?"]),
                                ("weight = 3", 'weight = "3"', [":12: [source]", "expected a number"]),
                                ('"synthetic"', '"best"', ["one of general, domain, synthetic"]),
                                ("mask_pii = true", "mask_pii = 1", ["true or false as 'mask_pii'"]),
                                ("[[source]]", "[source]", ["TOML"]), ("[filters]", "[=", [":5", "TOML"]),
                                ('"texts/*.txt"', '["texts/*.txt", "rows.jsonl"]', [":10: [source]", "files of one format", "a.txt and rows.jsonl"]),
                                ('path = "rows.jsonl"', 'path = "gone.jsonl"', ["gone.jsonl"])):
            with self.subTest(new):
                code = 3 if "gone" in new else 2
                _, err = self.run_program("data", "build", self.recipe(change=(old, new)), code=code)
                for part in parts:
                    self.assertIn(part, err)
        self.assertFalse(os.path.exists(self.path("shards")))

    def test_files_without_a_recipe(self):
        self.write("t.jsonl", '{"text": "one"}')
        out, _ = self.run_program("data", "build", "--tokenizer", SMOL, "--out", "x", "--json", "--threads", "2", "texts/a.txt", "t.jsonl")
        self.assertEqual(json.loads(out)["domains"]["text"]["kept"]["documents"], 2)
        _, err = self.run_program("data", "build", "--tokenizer", SMOL, "--out", "x", "texts/a.txt", code=2)
        self.assertIn("--force replaces it", err)
        self.assertIn("--tokenizer", self.run_program("data", "build", "--out", "y", "texts/a.txt", code=2)[1])
        self.assertIn("--out", self.run_program("data", "build", "--tokenizer", SMOL, "texts/a.txt", code=2)[1])

    def test_conversations(self):
        self.write("chat.jsonl", '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there"}]}\n')
        self.write("chat.toml", f'tokenizer = "{SMOL}"\nout = "chat"\n[[source]]\npath = "chat.jsonl"\nmessages = "messages"\n')
        self.run_program("data", "build", "chat.toml")
        _, tensors = read_shard(self.path("chat/train-text-00000.safetensors"))
        learnt = [token for token, mask in zip(tensors["tokens"], tensors["loss_mask"]) if mask]
        self.assertEqual(self.run_program("tokenize", SMOL, "--decode", "--special", " ".join(map(str, learnt)))[0], "Hello there<|im_end|>")
        self.write("chat.jsonl", '{"messages": [{"role": "user", "content": "Hi"}]}\n')
        _, err = self.run_program("data", "build", "chat.toml", "--force", code=2)
        self.assertRegex(err, r"chat\.jsonl:1: .*no answer")

    def has_parquet(self):
        with open(os.path.join(os.path.dirname(PROGRAM), "moebox-data"), "rb") as program:
            return b"libparquet.so" in program.read()

    def test_parquet_says_what_is_missing_or_wrong(self):
        self.write("x.parquet", "not parquet")
        _, err = self.run_program("data", "build", "--tokenizer", SMOL, "--out", "x", "x.parquet", code=4 if self.has_parquet() else 5)
        self.assertIn("x.parquet", err)

    def test_texts_may_stand_behind_the_special_tokens(self):
        self.write("long.txt", "the river and the mill and the miller " * 50)
        self.run_program("tokenizer", "train", "--vocabulary", "280", "--out", "tokenizer", "--special", "<|im_start|>,<|im_end|>", "long.txt", "texts/a.txt")
        document = json.loads(read_text(self.path("tokenizer/tokenizer.json")))
        self.assertEqual([token["content"] for token in document["added_tokens"]], ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])

    def test_a_trained_tokenizer_makes_data(self):
        self.write("long.txt", "the river and the mill and the miller " * 50 + "磨坊在河转弯的地方。" * 20)
        _, err = self.run_program("tokenizer", "train", "--vocabulary", "300", "--out", "tokenizer", "--special", "<|im_start|>,<|im_end|>", "long.txt")
        self.assertIn("tokenizer.json: 300 tokens", err)
        document = json.loads(read_text(self.path("tokenizer/tokenizer.json")))
        self.assertEqual([token["content"] for token in document["added_tokens"]], ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        self.run_program("data", "build", "--tokenizer", "tokenizer", "--out", "data", "long.txt", "texts/a.txt")
        _, tensors = read_shard(self.path("data/train-text-00000.safetensors"))
        self.assertEqual(tensors["tokens"][-1], 0)
        self.assertLess(max(tensors["tokens"]), 300)
        self.run_program("data", "check", "data", "--tokenizer", "tokenizer")
        self.assertIn("the model's is", self.run_program("data", "check", "data", "--tokenizer", SMOL, code=2)[1])
        self.run_program("tokenizer", "train", "--vocabulary", "300", "--out", "tokenizer", "long.txt", code=2)
        self.run_program("tokenizer", "train", "--vocabulary", "100", "--out", "t2", "long.txt", code=2)

    def test_a_trained_tokenizer_knows_how_a_conversation_is_written(self):
        self.write("chat.jsonl", '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there"}]}\n')
        self.write("chat.toml", 'tokenizer = "tokenizer"\nout = "chat"\n[[source]]\npath = "chat.jsonl"\nmessages = "messages"\n')
        train = ("tokenizer", "train", "--vocabulary", "280", "--out", "tokenizer", "--end-token", "<end>", "--force")
        self.run_program(*train, "texts/a.txt")
        _, err = self.run_program("data", "build", "chat.toml", code=2)
        self.assertIn("template", err)
        self.write("chat.jinja", "{% for message in messages %}{{ message.role }}: {{ message.content }}{{ eos_token }}{% endfor %}"
                                 "{% if add_generation_prompt %}assistant: {% endif %}")
        self.run_program(*train, "--chat-template", "chat.jinja", "texts/a.txt")
        self.run_program("data", "build", "chat.toml")
        _, tensors = read_shard(self.path("chat/train-text-00000.safetensors"))
        learnt = [token for token, mask in zip(tensors["tokens"], tensors["loss_mask"]) if mask]
        self.assertEqual(self.run_program("tokenize", "tokenizer", "--decode", "--special", " ".join(map(str, learnt)))[0], "Hello there<end>")
        self.write("chat.jinja", "{% for message in messages %}")
        _, err = self.run_program(*train, "--chat-template", "chat.jinja", "texts/a.txt", code=4)
        self.assertIn("template", err)
        self.run_program(*train, "--chat-template", "nothing.jinja", "texts/a.txt", code=3)


if __name__ == "__main__":
    unittest.main()
