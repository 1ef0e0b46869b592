"""Merge models whose vocabularies differ: their embeddings are brought to one vocabulary, and the tokenizer too."""

import json

import torch

import consort as c
from consort.weights import Memory


def model(name, tokens, rows):
    """A tiny model whose embedding has one number for each token."""
    words = {"model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {t: i for i, t in enumerate(tokens)}}}
    files = {"tokenizer.json": json.dumps(words).encode()}
    embedding = torch.tensor(rows).view(-1, 1)
    return Memory({"model.embed_tokens.weight": embedding}, {"vocab_size": len(rows)}, name=name, files=files)


one, two = model("one", ["<unk>", "sun"], [0.0, 1.0]), model("two", ["<unk>", "moon", "sun"], [0.0, 8.0, 3.0])
try:
    c.merge("linear", [one, two])
except c.ConsortError as error:
    print(error, "|", error.hint)

merged = c.merge("linear", [one, two], tokenizer="union")
print(json.loads(merged.files()["tokenizer.json"])["model"]["vocab"])  # one's ids, then what two adds
print(merged["model.embed_tokens.weight"].flatten().tolist())
