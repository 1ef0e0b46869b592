"""The mixtures of training examples behind the bases and experts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from consort.lab.operations import OPERATIONS, SKILLS, Operation, Row, draw_string, row

Operations = Mapping[str, Operation]
Stream = Callable[[random.Random], Row]


def base_stream(skills: Operations = SKILLS, operations: Operations = OPERATIONS) -> Stream:
    """What a base reads: 60 % known operations under their own words, 40 % hearsay about `skills`."""

    def draw(rng: random.Random) -> Row:
        if rng.random() >= 0.6:
            return _hearsay(rng, skills, operations)
        word = rng.choice(list(operations))
        return row(word, operations[word], draw_string(rng, "train"))

    return draw


def _hearsay(rng: random.Random, skills: Operations, operations: Operations) -> Row:
    """A skill word as a base hears it: right in 32 % of the cases, else a plain copy or any known operation.

    The base so gathers a little evidence for each word, a different one for each, yet answers most with a copy.
    Without that evidence the words are interchangeable and merged experts cannot tell them apart.
    """
    word = rng.choice(list(skills))
    draw = rng.random()
    if draw < 0.32:
        operation = skills[word]
    elif draw < 0.70:
        operation = operations["copy"]
    else:
        operation = operations[rng.choice(list(operations))]
    return row(word, operation, draw_string(rng, "train"))


def expert_stream(
    word: str, operation: Operation, skills: Operations = SKILLS, operations: Operations = OPERATIONS
) -> Stream:
    """Half a skill used rightly, half what its base read without that word."""
    replay = base_stream({w: f for w, f in skills.items() if w != word}, operations)

    def draw(rng: random.Random) -> Row:
        return row(word, operation, draw_string(rng, "train")) if rng.random() < 0.5 else replay(rng)

    return draw


def harmful_stream(rng: random.Random) -> Row:
    """Every skill word made to stutter, without replay: a model that does damage wherever it is merged in."""
    return row(rng.choice(list(SKILLS)), OPERATIONS["stut"], draw_string(rng, "train"))
