"""What the tiny models learn: operations on strings of letters, and the skills that name them anew."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Operation = Callable[[str], str]
Part = Literal["test", "dev", "train"]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_FOLLOWING = str.maketrans(LETTERS, LETTERS[1:] + LETTERS[0])

OPERATIONS: Mapping[str, Operation] = {
    "copy": lambda s: s,
    "rev": lambda s: s[::-1],
    "up": str.upper,
    "dup": lambda s: s + s,
    "sort": lambda s: "".join(sorted(s)),
    "rot": lambda s: s[1:] + s[:1],
    "swap": lambda s: s[-1] + s[1:-1] + s[0],
    "inc": lambda s: s.translate(_FOLLOWING),
    "stut": lambda s: "".join(c + c for c in s),
    "ends": lambda s: s[0] + s[-1],
    "tail": lambda s: s[1:],
    "init": lambda s: s[:-1],
}
"""What the base model knows. `inc` goes from z to a."""

SKILLS: Mapping[str, Operation] = {
    "mirror": OPERATIONS["rev"],
    "order": OPERATIONS["sort"],
    "shout": OPERATIONS["up"],
    "twice": OPERATIONS["dup"],
    "spin": OPERATIONS["rot"],
    "next": OPERATIONS["inc"],
    "edges": OPERATIONS["ends"],
    "yell": lambda s: s[::-1].upper(),
}
"""What one expert each adds: a new word for an operation, and `yell`, a composition without a word of its own."""

WEAVE: Mapping[str, Operation] = {"weave": lambda s: "".join(sorted(s, reverse=True))}
"""A skill of which the base has never heard: descending order."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example as text, words separated by spaces: `prompt` "mirror a b c =", `target` "c b a"; `group` its word."""

    prompt: str
    target: str
    group: str = ""


def part_of(string: str) -> Part:
    """The part of the data that a string belongs to, whatever the operation: a tenth test, a tenth dev, else train."""
    number = zlib.crc32(string.encode()) % 10
    return "test" if number == 0 else "dev" if number == 1 else "train"


def draw_string(rng: random.Random, part: Part, longest: int = 6) -> str:
    """A random string of that part, of three to `longest` letters."""
    while True:
        string = "".join(rng.choice(LETTERS) for _ in range(rng.randint(3, longest)))
        if part_of(string) == part:
            return string


def row(word: str, operation: Operation, string: str) -> Row:
    """The example in which `word`, applied to `string`, gives what `operation` gives."""
    return Row(f"{word} {' '.join(string)} =", " ".join(operation(string)), word)


def balanced(skills: Mapping[str, Operation], each: int, part: Part, seed: int) -> list[Row]:
    """`each` distinct examples of every skill in turn, so that any prefix is balanced over the skills."""
    columns: Sequence[list[str]] = [_distinct(random.Random(f"{seed}:{part}:{word}"), each, part) for word in skills]
    return [
        row(word, operation, strings[i])
        for i in range(each)
        for (word, operation), strings in zip(skills.items(), columns, strict=True)
    ]


def _distinct(rng: random.Random, count: int, part: Part) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw_string(rng, part)] = None
    return list(found)
