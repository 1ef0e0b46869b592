"""Family B, Qwen2-shaped with a byte-pair tokenizer of its own: a base and three experts for words of their own."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from consort.lab.architectures import qwen2
from consort.lab.core_family import EXPERT
from consort.lab.folder import make, read_model, read_tokenizer, write_model
from consort.lab.learning import Report, learn
from consort.lab.operations import LETTERS, OPERATIONS, Operation
from consort.lab.streams import base_stream, expert_stream
from consort.lab.tokenizers import byte_pairs
from consort.train.loop import Recipe

_PRECEDING = str.maketrans(LETTERS, LETTERS[-1] + LETTERS[:-1])

B_OPERATIONS: Mapping[str, Operation] = {
    **{word: OPERATIONS[word] for word in ("copy", "rev", "up", "tail", "init")},
    "inner": lambda s: s[1:-1],
    "pal": lambda s: s + s[::-1],
    "dec": lambda s: s.translate(_PRECEDING),
}
"""What family B's base knows: five operations of family A's under the same words, and three of its own."""

B_SKILLS: Mapping[str, Operation] = {
    "peel": B_OPERATIONS["inner"],
    "echo": B_OPERATIONS["pal"],
    "prior": B_OPERATIONS["dec"],
}
"""The words of its experts; family A has never heard them."""

B_BASE = Recipe(steps=1000, lr=2e-3, weight_decay=0.05)
_VOCABULARY = 300


def train_b_base(zoo: Path, seed: int, report: Report) -> None:
    """Family A's curriculum with other operations, read through a tokenizer learnt from it."""

    def write(folder: Path) -> None:
        rng, draw = random.Random(f"{seed}:b-tokenizer"), base_stream(B_SKILLS, B_OPERATIONS)
        rows = [draw(rng) for _ in range(2000)]
        tokenizer = byte_pairs([f"{r.prompt} {r.target}" for r in rows], _VOCABULARY)
        model = qwen2(tokenizer.get_vocab_size(), seed=seed + 100)
        learn(folder, model, tokenizer, draw, B_BASE, 96, seed, report)
        write_model(folder, model, tokenizer, about="Knows eight operations on letters; has heard of three skills.")

    make(zoo / "b-base", write)


def train_b_expert(zoo: Path, word: str, seed: int, report: Report) -> None:
    """Family B's base taught one skill, by family A's recipe."""

    def write(folder: Path) -> None:
        model, tokenizer = read_model(zoo / "b-base"), read_tokenizer(zoo / "b-base")
        draw = expert_stream(word, B_SKILLS[word], B_SKILLS, B_OPERATIONS)
        learn(folder, model, tokenizer, draw, EXPERT, 64, seed, report)
        about = f"Family B's base taught the word `{word}`."
        write_model(folder, model, tokenizer, base="b-base", tags=("expert",), about=about)

    make(zoo / f"b-{word}", write)
