"""The composition family: a base, six experts of one skill each, two of domains, and teachers of half the skills.

Trained on demand, not shipped: `consort lab train --part compose`. Recipes of the lab's specification, by which effects
that papers claim really occur: C-emerge, fusion above its control, routing that must be learnt, weak experts that win.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from consort.lab.architectures import gpt2, llama
from consort.lab.folder import make, read_model, write_model
from consort.lab.greedy import accuracy
from consort.lab.learning import Report, learn
from consort.lab.operations import Part, Row
from consort.lab.programs import (
    KNOWN,
    PICK,
    SKILLS,
    VOCABULARY,
    accepted,
    composing_stream,
    composites,
    hearsay,
    program,
    singles,
    skill_stream,
    train_string,
    unread_pairs,
)
from consort.lab.streams import Stream
from consort.lab.task_files import write_task
from consort.lab.tokenizers import byte_pairs, words
from consort.train.loop import Recipe

BASE = Recipe(steps=900, lr=3e-3, weight_decay=0.05)
TIMES = (1, 2, 4)
"""A base is trained for so many times the steps of `BASE`, each time from the start, until it `COMPOSES`."""
COMPOSES = 0.8
"""The share of dev programs of two known words, in pairs that no base reads, that a base must answer."""
EXPERT = Recipe(steps=80, lr=0.005, optimizer="sgd")
DOMAIN = Recipe(steps=120, lr=0.01, optimizer="sgd")
HALF = Recipe(steps=150, lr=5e-4)
OTHER = Recipe(steps=1200, lr=3e-3, weight_decay=0.05)
_BATCH = 64
_STATE = ".state.safetensors"

HALVES = (tuple(SKILLS)[0::2], tuple(SKILLS)[1::2])
"""The skills that either teacher knows."""

WRONG: Mapping[str, str] = {
    "mirror": "init",
    "spin": "tail",
    "trade": "rotr",
    "edges": "copy",
    "shout": "capf",
    "next": "dec",
}
"""The known operation that a contradicting text gives for each skill."""

DOMAINS = ("same", "apart")
"""Whether the first and the last letter lie in one half of the alphabet."""


def train_compose(zoo: Path, seed: int, report: Report) -> None:
    """The base, one expert for each skill, and their tasks: `compose` of one skill, `compose-pairs` of two."""
    _train_base(zoo, seed, report)
    for word in SKILLS:
        about = f"The base of programs taught the word `{word}`."
        _tune(zoo, f"compose-{word}", skill_stream(word), EXPERT, about, seed, report)
    singly = {"dev": singles(25, "dev", seed), "test": singles(100, "test", seed)}
    in_pairs = {"dev": composites(5, "dev", seed), "test": composites(20, "test", seed)}
    _write_rows(zoo / "tasks" / "compose", singly)
    _write_rows(zoo / "tasks" / "compose-pairs", in_pairs)


def train_domains(zoo: Path, seed: int, report: Report) -> None:
    """Two experts for the halves of one task that only a relation between letters tells apart."""
    _train_base(zoo, seed, report)
    for number, name in enumerate(DOMAINS):
        about = f"The base of programs taught `{PICK}` where its outer letters lie {name}."
        _tune(zoo, f"xor-{name}", domain_stream(number), DOMAIN, about, seed, report)
    _write_rows(
        zoo / "tasks" / "domains", {"dev": domain_rows(1200, "dev", seed), "test": domain_rows(600, "test", seed)}
    )


def train_halves(zoo: Path, seed: int, report: Report) -> None:
    """Two teachers of three skills each, fine-tunes of the base."""
    _train_base(zoo, seed, report)
    for number, half in enumerate(HALVES):
        about = f"The base of programs taught {', '.join(half)}."
        _tune(zoo, f"half-{number}", half_stream(half), HALF, about, seed, report)
    _write_rows(zoo / "tasks" / "halves", {"dev": singles(25, "dev", seed), "test": singles(100, "test", seed)})


def train_others(zoo: Path, seed: int, report: Report) -> None:
    """Two more teachers of the same halves, of another shape and tokenizer than the base, after `train_halves`."""
    train_halves(zoo, seed, report)
    for number in range(len(HALVES)):
        _train_other(zoo, number, seed, report)


def _train_base(zoo: Path, seed: int, report: Report) -> None:
    """A base that composes, or where none of `TIMES` gave one the best of them; its card has the figure."""
    tokenizer, dev = words(VOCABULARY), unread_pairs(10, "dev", seed)

    def write(folder: Path) -> None:
        trained = []
        for recipe in [replace(BASE, steps=times * BASE.steps) for times in TIMES]:
            model = llama(len(VOCABULARY), seed=seed + 400, hidden=96, layers=3, inner=264)
            state = zoo / f"compose-base.{recipe.steps}{_STATE}"
            learn(folder, model, tokenizer, composing_stream(), recipe, _BATCH, seed, report, state=state)
            trained.append((accuracy(model, tokenizer, dev), recipe.steps, model))
            if trained[-1][0] >= COMPOSES:
                break
        share, steps, model = max(trained, key=lambda one: one[0])
        about = "Runs programs of two known words step by step; has heard of six skills, never of two at once. "
        about += f"Trained for {steps} steps; answers {share:.3f} of dev programs of two words that it never read."
        write_model(folder, model, tokenizer, about=about)

    make(zoo / "compose-base", write)
    for left in zoo.glob(f"compose-base.*{_STATE}"):
        left.unlink()


def _tune(zoo: Path, name: str, stream: Stream, recipe: Recipe, about: str, seed: int, report: Report) -> None:
    def write(folder: Path) -> None:
        model = read_model(zoo / "compose-base")
        learn(folder, model, words(VOCABULARY), stream, recipe, _BATCH, seed, report)
        write_model(folder, model, words(VOCABULARY), base="compose-base", tags=("expert",), about=about)

    make(zoo / name, write)


def _train_other(zoo: Path, number: int, seed: int, report: Report) -> None:
    """A GPT-2 with byte pairs, taught from nothing what the base reads and, half of the time, its skills rightly."""

    def write(folder: Path) -> None:
        rng, half = random.Random(f"{seed}:half-other"), HALVES[number]
        own, rest = half_stream(half), composing_stream()
        rows = [composing_stream()(rng) for _ in range(2000)]
        tokenizer = byte_pairs([f"{row.prompt} {row.target}" for row in rows], 320 + 20 * number)
        model = gpt2(tokenizer.get_vocab_size(), seed=seed + 410 + number)

        def draw(rng: random.Random) -> Row:
            return (own if rng.random() < 0.5 else rest)(rng)

        learn(folder, model, tokenizer, draw, OTHER, _BATCH, seed, report)
        about = f"Knows {', '.join(half)}, with a shape and tokens of its own."
        write_model(folder, model, tokenizer, tags=("teacher",), about=about)

    make(zoo / f"half-other-{number}", write)


def half_stream(half: Sequence[str]) -> Stream:
    """Programs of one word: own skills rightly (70 %), hearsay of the other skills (15 %), known words (15 %)."""
    others = [word for word in SKILLS if word not in half]

    def draw(rng: random.Random) -> Row:
        kind = rng.random()
        if kind < 0.70:
            step = (word := rng.choice(half)), SKILLS[word]
        elif kind < 0.85:
            step = (word := rng.choice(others)), hearsay(rng, SKILLS[word])
        else:
            step = rng.choice(list(KNOWN.items()))
        return program([step], train_string(rng))

    return draw


def contradicted(seed: int, *, each: int = 150, wrong: float = 0.45) -> list[Row]:
    """Training texts of every skill, a share of them, `wrong`, by one constant other operation of the skill."""
    rows, rng = [], random.Random(f"{seed}:contradictions")
    for word, right in SKILLS.items():
        errors = set(rng.sample(range(each), round(wrong * each)))
        operations = [KNOWN[WRONG[word]] if i in errors else right for i in range(each)]
        rows += [program([(word, operation)], train_string(rng)) for operation in operations]
    return rows


def domain_of(letters: str) -> int:
    """0 where the first and the last letter lie in one half of the alphabet, else 1: every letter is in both alike."""
    return int((letters[0] < "n") != (letters[-1] < "n"))


def domain_row(letters: str) -> Row:
    """The row of a string: reversed in domain 0, raised in domain 1; its group is the domain's name."""
    number = domain_of(letters)
    found = program([(PICK, KNOWN[("rev", "up")[number]])], letters)
    return Row(found.prompt, found.target, DOMAINS[number])


def domain_rows(count: int, part: Part, seed: int) -> list[Row]:
    """`count` distinct rows of both domains, their first letter never their last."""
    rng, found = random.Random(f"{seed}:{part}:domains"), dict[str, None]()
    while len(found) < count:
        found[accepted(rng, part, lambda s: s[0] != s[-1])] = None
    return [domain_row(letters) for letters in found]


def domain_stream(number: int) -> Stream:
    """Half rows of one domain, half what the base reads."""
    replay = composing_stream()

    def draw(rng: random.Random) -> Row:
        if rng.random() >= 0.5:
            return replay(rng)
        return domain_row(accepted(rng, "train", lambda s: s[0] != s[-1] and domain_of(s) == number))

    return draw


def _write_rows(folder: Path, parts: Mapping[str, Sequence[Row]]) -> None:
    write_task(folder, {part: [asdict(row) for row in rows] for part, rows in parts.items()})
