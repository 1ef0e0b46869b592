"""One character of each class, found without asking for every character: the same as by asking for all of them."""

from __future__ import annotations

import pytest

from consort.models.bytewise.characters import characters
from consort.models.bytewise.classes import Classes

PATTERNS = [
    r"'s|'t| ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|\s+",
    r"[^ é»’]+|\p{N}",
    r"[一-龥]+|\p{L}",
    r"\p{Han}+|\p{L}+",
    r"\w+|\d",
]
STARTS = [bytes([first]) for first in range(0xC2, 0xEB)] + [bytes([0xF0, second]) for second in (0x9D, 0x9F)]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_members_are_those_of_all_characters(pattern: str) -> None:
    spec = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    found, asked = Classes(spec), Classes(spec)
    for start in STARTS:
        assert found.members(start) == tuple(sorted({asked.member(char) for char in characters(start)}))
    assert len({found.members(start) for start in STARTS}) > 3
