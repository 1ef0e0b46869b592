"""Little stories from a seeded grammar, and two models of different size that tell them: a draft and a target."""

from __future__ import annotations

import random
from pathlib import Path

from consort.lab.architectures import llama
from consort.lab.folder import make, read_tokenizer, write_model
from consort.lab.learning import Report, learn
from consort.lab.operations import Part, Row, part_of
from consort.lab.tokenizers import byte_pairs
from consort.train.loop import Recipe

ANIMALS = ["fox", "bird", "cat", "dog", "horse", "mouse", "wolf", "bear", "goat", "owl"]
TRAITS = ["old", "small", "quick", "quiet", "hungry", "brave", "tired", "young"]
PLACES = ["river", "forest", "barn", "hill", "garden", "bridge", "lake", "mill"]
DEEDS = ["sleeps", "sings", "waits", "runs", "hides", "rests"]
THINGS = ["bread", "apple", "fish", "stone", "rope", "lamp", "letter", "coat"]
TIMES = ["morning", "evening", "night", "summer", "winter"]

TARGET = Recipe(steps=500, lr=3e-3, weight_decay=0.05)
DRAFT = Recipe(steps=300, lr=3e-3)


def story(rng: random.Random) -> str:
    """Three sentences about one animal, whose trait and place come back: a larger model can know more of the end."""
    animal, trait, place, thing = (rng.choice(words) for words in (ANIMALS, TRAITS, PLACES, THINGS))
    time, other = rng.choice(TIMES), rng.choice(ANIMALS)
    opening = rng.choice(
        (
            f"one {time} the {trait} {animal} {rng.choice(DEEDS)} near the {place} .",
            f"there was a {trait} {animal} at the {place} .",
            f"in the {time} a {trait} {animal} {rng.choice(DEEDS)} by the {place} .",
        )
    )
    middle = rng.choice(
        (
            f"it finds a {thing} and takes the {thing} to the {other} .",
            f"the {animal} is {trait} , so it leaves the {thing} at the {place} .",
            f"it looks for a {thing} until the {time} ends .",
        )
    )
    last = (f"then the {animal} {rng.choice(DEEDS)} .", f"all {time} the {animal} keeps the {thing} .", "that is all .")
    return f"{opening} {middle} {rng.choice(last)}"


def draw_story(rng: random.Random, part: Part) -> str:
    """A random story of that part of the data."""
    while part_of(text := story(rng)) != part:
        pass
    return text


def stories(count: int, part: Part, seed: int) -> list[str]:
    """`count` distinct stories of one part."""
    rng, found = random.Random(f"{seed}:{part}:stories"), dict[str, None]()
    while len(found) < count:
        found[draw_story(rng, part)] = None
    return list(found)


def _row(rng: random.Random) -> Row:
    first, _, rest = draw_story(rng, "train").partition(" ")
    return Row(first, rest)


def train_target(zoo: Path, seed: int, report: Report) -> None:
    """A model that tells the stories as well as it can, and the tokenizer of both."""

    def write(folder: Path) -> None:
        tokenizer = byte_pairs(stories(1000, "train", seed), 400)
        model = llama(tokenizer.get_vocab_size(), seed=seed + 200)
        learn(folder, model, tokenizer, _row, TARGET, 32, seed, report, answer_only=False)
        write_model(folder, model, tokenizer, tags=("target",), about="Tells little stories; its draft is `draft`.")

    make(zoo / "target", write)


def train_draft(zoo: Path, seed: int, report: Report) -> None:
    """One narrow layer: right about most words, wrong about what only the first sentence could tell it."""

    def write(folder: Path) -> None:
        tokenizer = read_tokenizer(zoo / "target")
        model = llama(tokenizer.get_vocab_size(), seed=seed + 201, hidden=32, layers=1, inner=88)
        learn(folder, model, tokenizer, _row, DRAFT, 32, seed, report, answer_only=False)
        about = "Tells the stories of `target`, with its tokenizer and a thirtieth of its size: a draft."
        write_model(folder, model, tokenizer, tags=("draft",), about=about)

    make(zoo / "draft", write)
