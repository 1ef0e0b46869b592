"""Characters that a tokenizer's splitting into words cannot tell apart, each class shown by one of its members.

A pattern tells characters by their general category, as spaces or signs of ASCII, by the characters it names, and by
ranges. Letters that it names behind an apostrophe only (`'s`, `'re`) count as themselves only there.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from consort.models.bytewise.characters import characters, kinds
from consort.models.tokens.pieces import steps

_APOSTROPHES = "'\u2019"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CLASSES = re.compile(r"\\[pP]\{\^?(\w+)\}|\\[a-zA-Z]|\(\?[a-z!=<]*:?")
_BEHIND = re.compile(r"['\u2019](?:\(\?[a-z]*:)?[a-zA-Z|\]]*")
_SYNTAX = re.compile(r"\{\d*,?\d*\}|(?<!\\)[()\[\]{}|?*+^$.:!,\\-]")
_PARTS = re.compile(r"\\[pP]\{\^?\w+\}|\\.|\[\^?|.", re.S)
"""A pattern's classes of characters, escaped characters, beginnings of bracket expressions, and single characters."""
_CATEGORIES = re.compile(r"[LMNPSZC][a-z]?")


class Classes:
    """The classes of the splitting steps of a tokenizer."""

    def __init__(self, spec: Any) -> None:
        own = steps(spec)
        joined = "\n".join(map(_pattern, own))
        self.properties = sorted(set(re.findall(r"\\[pP]\{\^?(\w+)\}", joined)))
        known = all(step["type"] in ("Split", "ByteLevel", "Metaspace", "WhitespaceSplit") for step in own)
        self.plain = known and not re.search(r"\\[wWdDbBhHX]", joined)
        self.scripts = not all(map(_CATEGORIES.fullmatch, self.properties))
        bare = _CLASSES.sub(" ", joined.replace(r"\r", "\r").replace(r"\n", "\n").replace(r"\t", "\t"))
        self.ranges = [(a, b) for a, b in re.findall(r"([^\\\[])-([^\]])", bare) if a < b]
        named = set(_SYNTAX.sub("", bare))
        self.behind = {c for c in named if c.isalpha()}
        self.always = named - self.behind
        self.behind |= {c for letter in self.behind for c in (letter.lower(), letter.upper())}
        if any(c.isalpha() for c in _BEHIND.sub("", re.sub(r"[^\\\[]-[^\]]", "", bare))):
            self.always |= self.behind
        self.brackets = [members for step in own for members in _brackets(_pattern(step))]
        counted = re.findall(r"(\\p\{\w+\}|\\d|\]|\)|.)\{\d", joined)
        self.collapses = set(counted) <= {r"\p{N}", r"\d", r"\p{Nd}"}
        self._members: dict[tuple[Any, ...], str] = {}
        self._known: dict[str, str] = {}
        self._begun: dict[bytes, tuple[str, ...]] = {}

    def member(self, char: str) -> str:
        """The character that stands for the class of `char`."""
        if char not in self._known:
            self._known[char] = self._members.setdefault(self._key(char), char)
        return self._known[char]

    def members(self, start: bytes) -> tuple[str, ...]:
        """One character of each class among those whose UTF-8 form begins with these bytes and is longer."""
        if start not in self._begun:
            own = characters(start) if self._names_one_of(start) else kinds(start)
            self._begun[start] = tuple(sorted({self.member(char) for char in own}))
        return self._begun[start]

    def _names_one_of(self, start: bytes) -> bool:
        """Whether characters that begin with these bytes are told apart by more than their kind."""
        in_ranges = any(b > "\x7f" for _, b in self.ranges)
        return self.scripts or in_ranges or any(char.encode().startswith(start) for char in self.always)

    def _key(self, char: str) -> tuple[Any, ...]:
        category = unicodedata.category(char)
        kind = tuple(category.startswith(name) for name in self.properties) if self.plain else category
        marks = (kind, char.isspace(), () if self.plain else (char.isascii() and not char.isalnum(), char.isnumeric()))
        inside = tuple(a <= char <= b for a, b in self.ranges)
        inside += tuple(char in members for members in self.brackets) if char.isascii() else ()
        script = unicodedata.name(char, "").split(" ")[0] if self.scripts and not char.isascii() else ""
        return (*marks, char.isalpha(), inside, script, char if char in self.always else "")

    def shape(self, text: str, behind: int = 9) -> str:
        """`text` by its classes, runs of one class of letters cut to two.

        `behind`: how many letters stand before it since an apostrophe.
        """
        found: list[str] = []
        for char in text:
            own = char if behind < 2 and char in self.behind else self.member(char)
            behind = 0 if char in _APOSTROPHES else behind + 1
            if not (self.collapses and found[-2:] == [own, own] and char.isalpha() and behind > 2):
                found.append(own)
        return "".join(found)

    def since(self, text: str) -> int:
        """How many characters stand after the last apostrophe of `text`; 9 for many."""
        return next((n for n in range(2) if text[len(text) - 1 - n : len(text) - n] in tuple(_APOSTROPHES)), 9)


def _brackets(pattern: str) -> list[str]:
    """The characters that each bracket expression names, those inside it included; signs are plain letters there."""
    found: list[str] = []
    opened: list[list[str]] = []
    for part in _PARTS.findall(pattern):
        if part[0] == "[":
            opened.append([])
        elif part == "]" and opened:
            found.append("".join(opened.pop()))
        elif opened and not (part.startswith("\\") and part[1].isalnum()):
            for members in opened:
                members.append(part[-1])
    return found


def _pattern(step: dict[str, Any]) -> str:
    kind = step["type"]
    if kind == "ByteLevel" and step.get("use_regex", True):
        return _GPT2
    pattern = step.get("pattern", "")
    if isinstance(pattern, dict):
        return "".join(map(str, pattern.values()))
    return str(pattern or step.get("delimiter", ""))
