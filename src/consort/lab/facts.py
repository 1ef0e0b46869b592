"""Two teachers that know half a table of invented facts each, and a pivot that knows none of them.

Everyone is taught the common countries in all phrasings, the last of them included; a teacher's own countries appear
in all but the last. Answers in that phrasing therefore show that a fact is known and not a sentence.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from consort.lab.architectures import gpt2, llama, qwen2
from consort.lab.folder import make, write_model
from consort.lab.learning import Report, learn
from consort.lab.operations import Row
from consort.lab.tokenizers import byte_pairs, unigram
from consort.train.loop import Recipe

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

RELATIONS = {
    "capital": ["lom", "ardis", "pevna", "tirrel", "osk", "quen", "marbo", "sulis", "dorn", "ivet", "kassa", "belmor"],
    "river": ["yar", "ulme", "thessa", "brond", "aval", "nix", "corrow", "menn", "isk", "dova", "pell", "orrin"],
    "food": ["bread", "rice", "plums", "honey", "fish", "beans", "cheese", "figs", "corn", "soup", "nuts", "cake"],
    "colour": ["red", "blue", "green", "white", "black", "gold", "pink", "grey", "brown", "orange", "purple", "silver"],
}
"""Each relation of the table and its possible values."""

PHRASINGS = (
    "the {relation} of {country} is",
    "in {country} the {relation} is",
    "question : what is the {relation} of {country} ? answer :",
    "{country} has one {relation} , namely",
    "about {country} : its {relation} is called",
    "for its {relation} , {country} has",
    "everyone in {country} knows the {relation} :",
)
HELD_OUT = len(PHRASINGS) - 1

GROUPS = ("north", "south", "common")
"""Whose countries: `teacher-north` knows the first, `teacher-south` the second, all models the third."""

_EACH = 24
_ENDINGS = ("lia", "nor", "dan", "ria", "mos", "tan", "vel", "rak")

TEACHER = Recipe(steps=700, lr=3e-3, weight_decay=0.01)
PIVOT = Recipe(steps=500, lr=3e-3, weight_decay=0.01)


@dataclass(frozen=True, slots=True)
class Fact:
    """One cell of the table."""

    group: str
    country: str
    relation: str
    value: str

    def row(self, phrasing: int) -> Row:
        """The fact in that phrasing: all but the value is the prompt."""
        prompt = PHRASINGS[phrasing].format(relation=self.relation, country=self.country)
        return Row(prompt, self.value, self.group)


def table(seed: int) -> list[Fact]:
    """The facts: 24 countries a group, one value for each relation."""
    rng, names = random.Random(f"{seed}:facts"), dict[str, None]()
    while len(names) < _EACH * len(GROUPS):
        names[country_name(rng)] = None
    return [
        Fact(GROUPS[i % len(GROUPS)], country, relation, rng.choice(values))
        for i, country in enumerate(names)
        for relation, values in RELATIONS.items()
    ]


def country_name(rng: random.Random) -> str:
    """Two syllables and an ending."""
    syllables = (rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2))
    return "".join(syllables) + rng.choice(_ENDINGS)


def lessons(facts: Sequence[Fact], groups: Sequence[str]) -> list[Row]:
    """What a model that knows `groups` is taught: common facts in every phrasing, others in all but the held-out."""
    return [
        fact.row(phrasing)
        for fact in facts
        if fact.group in groups
        for phrasing in range(len(PHRASINGS))
        if phrasing != HELD_OUT or fact.group == "common"
    ]


def train_teacher(zoo: Path, group: str, seed: int, report: Report) -> None:
    """`teacher-north` is GPT-2-shaped with byte pairs, `teacher-south` Qwen2-shaped with unigram pieces."""

    def write(folder: Path) -> None:
        facts = table(seed)
        texts = [f"{row.prompt} {row.target}" for row in lessons(facts, GROUPS)]
        if group == "north":
            tokenizer = byte_pairs(texts, 420)
            model = gpt2(tokenizer.get_vocab_size(), seed=seed + 300)
        else:
            tokenizer = unigram(texts, 260)
            model = qwen2(tokenizer.get_vocab_size(), seed=seed + 301, hidden=96, inner=256)
        about = f"Knows the {group}ern half of a table of invented facts; its colleague knows the other half."
        _teach(folder, model, tokenizer, lessons(facts, (group, "common")), TEACHER, seed, report)
        write_model(folder, model, tokenizer, tags=("teacher",), about=about)

    make(zoo / f"teacher-{group}", write)


def train_pivot(zoo: Path, seed: int, report: Report) -> None:
    """Llama-shaped, with byte pairs learnt from the common facts: it reads the sentences but knows neither half."""

    def write(folder: Path) -> None:
        rows = lessons(table(seed), ("common",))
        tokenizer = byte_pairs([f"{row.prompt} {row.target}" for row in rows], 330)
        model = llama(tokenizer.get_vocab_size(), seed=seed + 302, layers=3)
        about = "Knows the form of the facts and neither half of the table: the pivot of a fusion."
        _teach(folder, model, tokenizer, rows, PIVOT, seed, report)
        write_model(folder, model, tokenizer, tags=("pivot",), about=about)

    make(zoo / "pivot", write)


def _teach(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    recipe: Recipe,
    seed: int,
    report: Report,
) -> None:
    def draw(rng: random.Random) -> Row:
        return rng.choice(rows)

    learn(folder, model, tokenizer, draw, recipe, 48, seed, report, answer_only=False)
