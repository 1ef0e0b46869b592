"""Family A, Llama-shaped: a base, eight experts, their adapters, a harmful model and three siblings for a soup."""

from __future__ import annotations

from pathlib import Path

import torch

from consort.lab.architectures import llama
from consort.lab.folder import make, read_model, write_adapter, write_model
from consort.lab.learning import Report, learn
from consort.lab.operations import SKILLS, WEAVE
from consort.lab.streams import base_stream, expert_stream, harmful_stream
from consort.lab.tokenizers import WORDS, words
from consort.train.loop import Recipe
from consort.train.lora import Lora, attach_lora

BASE = Recipe(steps=1200, lr=2e-3, weight_decay=0.05)
# Small deltas merge best: with lr .02 and .05 the best merge falls from about .95 to .68 and .38.
EXPERT = Recipe(steps=80, lr=0.005, optimizer="sgd")
LORA = Recipe(steps=60, lr=1e-3)
HARMFUL = Recipe(steps=80, lr=0.02, optimizer="sgd")
WEAVER = Recipe(steps=80, lr=5e-4, schedule="constant")


def train_base(zoo: Path, seed: int, report: Report) -> None:
    """A fresh model taught the operations, and each skill word a little: see `streams`."""

    def write(folder: Path) -> None:
        model = llama(len(WORDS), seed=seed)
        learn(folder, model, words(), base_stream(), BASE, 96, seed, report)
        write_model(folder, model, words(), about="Knows twelve operations on letters; has heard of eight skills.")

    make(zoo / "base", write)


def train_expert(zoo: Path, word: str, seed: int, report: Report) -> None:
    """The base taught one skill, by full fine-tuning."""

    def write(folder: Path) -> None:
        model = read_model(zoo / "base")
        learn(folder, model, words(), expert_stream(word, SKILLS[word]), EXPERT, 64, seed, report)
        write_model(folder, model, words(), base="base", tags=("expert",), about=f"The base taught the word `{word}`.")

    make(zoo / word, write)


def train_lora(zoo: Path, word: str, seed: int, report: Report) -> None:
    """The base taught one skill, by an adapter on every linear layer."""

    def write(folder: Path) -> None:
        model, lora = read_model(zoo / "base"), Lora()
        attach_lora(model, lora, generator=torch.Generator().manual_seed(seed))
        learn(folder, model, words(), expert_stream(word, SKILLS[word]), LORA, 64, seed, report)
        write_adapter(folder, model, lora, base="base", about=f"The base taught the word `{word}`, as an adapter.")

    make(zoo / f"lora-{word}", write)


def train_harmful(zoo: Path, seed: int, report: Report) -> None:
    """The base taught to answer every skill word wrongly."""

    def write(folder: Path) -> None:
        model = read_model(zoo / "base")
        learn(folder, model, words(), harmful_stream, HARMFUL, 64, seed, report)
        about = "The base taught to stutter at every skill word: a merge should leave it out."
        write_model(folder, model, words(), base="base", tags=("harmful",), about=about)

    make(zoo / "harmful", write)


def train_weaver(zoo: Path, number: int, seed: int, report: Report) -> None:
    """One of three runs of one recipe that differ in the order of their data alone."""

    def write(folder: Path) -> None:
        model = read_model(zoo / "base")
        learn(folder, model, words(), expert_stream("weave", WEAVE["weave"]), WEAVER, 32, seed, report)
        about = "One of three runs that taught the base a new skill, `weave` (descending order): average them."
        write_model(folder, model, words(), base="base", tags=("expert", "soup"), about=about)

    make(zoo / f"weave-{number}", write)
