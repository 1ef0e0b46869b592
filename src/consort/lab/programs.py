"""Programs of one or two words, their steps printed: what the composition family learns and is measured on.

    mirror a b c =           -> c b a
    mirror shout a b c =     -> c b a ; C B A

No row that any model is trained on has two skill words in it: a program of two skills is new to all of them.
"""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from consort.lab.operations import LETTERS, Operation, Part, Row, draw_string
from consort.lab.operations import OPERATIONS as LAB
from consort.lab.streams import Operations, Stream
from consort.lab.tokenizers import SPECIALS, UNK

_PRECEDING = str.maketrans(LETTERS + LETTERS.upper(), "zabcdefghijklmnopqrstuvwxyZABCDEFGHIJKLMNOPQRSTUVWXY")
_FOLLOWING = str.maketrans(LETTERS + LETTERS.upper(), "bcdefghijklmnopqrstuvwxyzaBCDEFGHIJKLMNOPQRSTUVWXYZA")

KNOWN: Mapping[str, Operation] = {
    **{word: LAB[word] for word in ("copy", "rev", "rot")},
    "rotr": lambda s: s[-1:] + s[:-1],
    **{word: LAB[word] for word in ("swap", "tail", "init", "ends", "up")},
    "inc": lambda s: s.translate(_FOLLOWING),
    "dec": lambda s: s.translate(_PRECEDING),
    "capf": lambda s: s[:1].upper() + s[1:],
    "alt": lambda s: "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(s)),
}
"""What the base knows; letters keep their case in `inc` and `dec`, which go round; `alt` raises every other letter."""

SKILLS: Mapping[str, Operation] = {
    "mirror": KNOWN["rev"],
    "spin": KNOWN["rot"],
    "trade": KNOWN["swap"],
    "edges": KNOWN["ends"],
    "shout": KNOWN["up"],
    "next": KNOWN["inc"],
}
"""What one expert each adds."""

BINDING: Mapping[str, str] = {
    word: next(known for known, same in KNOWN.items() if same is operation) for word, operation in SKILLS.items()
}
"""The known word for each skill."""

PICK = "pick"
"""The word of the domains: a word of the vocabulary that the base never reads."""

VOCABULARY = (*SPECIALS, "=", ";", *string.ascii_letters, *KNOWN, *SKILLS, PICK, UNK)
LONGEST = 4

Step = tuple[str, Operation]


def program(steps: Sequence[Step], letters: str) -> Row:
    """The row of a program: every step's outcome, parted by `;`."""
    words = [word for word, _ in steps]
    outcomes, value = [], letters
    for _, operation in steps:
        value = operation(value)
        outcomes.append(" ".join(value))
    return Row(f"{' '.join([*words, *letters])} =", " ; ".join(outcomes), "/".join(words))


def is_held(first: str, second: str) -> bool:
    """Whether a pair of known words belongs to the quarter that no base reads."""
    return zlib.crc32(f"{first}/{second}".encode()) % 4 == 0


def composing_stream(skills: Operations = SKILLS) -> Stream:
    """What the base reads: one known word (25 %), hearsay of a skill (15 %), two known (35 %), one of each (25 %)."""

    def draw(rng: random.Random) -> Row:
        kind = rng.random()
        if kind < 0.25:
            steps = [_known(rng)]
        elif kind < 0.40:
            steps = [_hearsay(rng, skills)]
        elif kind < 0.75:
            steps = _known_pair(rng)
        else:
            steps = _shuffled(rng, _hearsay(rng, skills), _known(rng))
        return program(steps, train_string(rng))

    return draw


def skill_stream(word: str) -> Stream:
    """What an expert reads: its skill alone (25 %) or with a known word (25 %), else the base's rows without it."""
    replay = composing_stream({w: f for w, f in SKILLS.items() if w != word})

    def draw(rng: random.Random) -> Row:
        if rng.random() >= 0.5:
            return replay(rng)
        own = (word, SKILLS[word])
        return program([own] if rng.random() < 0.5 else _shuffled(rng, own, _known(rng)), train_string(rng))

    return draw


def train_string(rng: random.Random) -> str:
    """Three or four letters of the part that is trained on."""
    return draw_string(rng, "train", LONGEST)


def _known(rng: random.Random) -> Step:
    return rng.choice(list(KNOWN.items()))


def _known_pair(rng: random.Random) -> list[Step]:
    while True:
        first, second = _known(rng), _known(rng)
        if not is_held(first[0], second[0]):
            return [first, second]


def _shuffled(rng: random.Random, *steps: Step) -> list[Step]:
    return rng.sample(steps, len(steps))


def _hearsay(rng: random.Random, skills: Operations) -> Step:
    """A skill word, used rightly (32 %), as a copy (38 %) or as any known operation (30 %)."""
    return (word := rng.choice(list(skills))), hearsay(rng, skills[word])


def hearsay(rng: random.Random, right: Operation) -> Operation:
    """What a word of that meaning does in a row of hearsay."""
    draw = rng.random()
    return right if draw < 0.32 else KNOWN["copy"] if draw < 0.70 else KNOWN[rng.choice(list(KNOWN))]


def singles(each: int, part: Part, seed: int, skills: Operations = SKILLS) -> list[Row]:
    """`each` distinct programs of one skill, the skills in turn."""
    return _in_turn([[step] for step in skills.items()], each, part, seed)


def composites(each: int, part: Part, seed: int) -> list[Row]:
    """`each` distinct programs of every ordered pair of two different skills, the pairs in turn."""
    return _in_turn([[a, b] for a in SKILLS.items() for b in SKILLS.items() if a[0] != b[0]], each, part, seed)


def unread_pairs(each: int, part: Part, seed: int) -> list[Row]:
    """`each` distinct programs of the pairs of known words that no base reads."""
    pairs = [[(a, KNOWN[a]), (b, KNOWN[b])] for a in KNOWN for b in KNOWN if is_held(a, b)]
    return _in_turn(pairs, each, part, seed)


def uses_unread_pair(group: str) -> bool:
    """Whether a composite's known words are a pair that no base reads."""
    first, second = (BINDING[word] for word in group.split("/"))
    return is_held(first, second)


def _in_turn(programs: Sequence[Sequence[Step]], each: int, part: Part, seed: int) -> list[Row]:
    drawn = [(steps, _distinct(f"{seed}:{part}:{'/'.join(word for word, _ in steps)}", part)) for steps in programs]
    return [program(steps, next(letters)) for _ in range(each) for steps, letters in drawn]


def _distinct(name: str, part: Part) -> Iterator[str]:
    """Strings of a part, no one twice, by the name of their generator."""
    rng, seen = random.Random(name), set[str]()
    while True:
        letters = draw_string(rng, part, LONGEST)
        if letters not in seen:
            seen.add(letters)
            yield letters


def accepted(rng: random.Random, part: Part, test: Callable[[str], bool]) -> str:
    """The next string of a part that `test` accepts."""
    while not test(letters := draw_string(rng, part, LONGEST)):
        pass
    return letters
