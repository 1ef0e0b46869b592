"""Texts to words, as an index counts them; the settings are kept with the index, so that queries are read likewise."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from consort.core.errors import BadData
from consort.knowledge.stems import stem, stem_english

_WORD = re.compile(r"[^\W_]+")
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and ideographs, which are written without spaces."""
_SCRIPT = re.compile(rf"[{UNSPACED}\uac00-\ud7af]+")
"""These and hangul, which inflects at the end: read as pairs of letters."""
_LEFT_OUT = """
a about above after again against all also am an and any are as at be because been before being below between both but
by can cannot could did do does doing down during each few for from further had has have having he her here hers him his
how i if in into is it its itself just me more most my no nor not now of off on once only or other our out over own same
she should so some such than that the their them then there these they this those through to too under until up very was
we were what when where which while who whom why will with would you your
"""
ENGLISH = frozenset(_LEFT_OUT.split())
"""English words that tell nothing of what a text is about."""


@dataclass(frozen=True, slots=True)
class Words:
    """How a text is read: Unicode letters and digits in lower case, pairs of letters where no spaces are written.

    `stop` leaves out English words that tell nothing; `stem` cuts English endings: "s" plurals alone, "english" as
    Porter (1980).

    >>> Words().of("The Cats' résumé: 日本語")
    ['the', 'cats', 'résumé', '日本', '本語']
    >>> Words(stop=True, stem="english").of("The cats are running")
    ['cat', 'run']
    """

    stop: bool = False
    stem: str = "none"

    def __post_init__(self) -> None:
        if self.stem not in ("none", "s", "english") or not isinstance(self.stop, bool):
            raise BadData(f"unknown settings of words: {asdict(self)}", field="words", hint="build the index again")

    def of(self, text: str) -> list[str]:
        """The words of a text, in order."""
        return self.kept(split(text))

    def kept(self, words: list[str]) -> list[str]:
        """What is left of split words after stop words and endings."""
        if self.stop:
            words = [word for word in words if word not in ENGLISH]
        if self.stem == "none":
            return words
        cut = stem if self.stem == "s" else stem_english
        return [cut(word) for word in words]

    def described(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, kept: Mapping[str, Any], where: str) -> Words:
        """The settings that an index keeps. Raises BadData for those of another version."""
        try:
            return cls(**kept)
        except (TypeError, BadData):
            hint = "it was made by another version: build the index again"
            raise BadData("its words are read in a way that is not known here", field=where, hint=hint) from None


def split(text: str) -> list[str]:
    """All words of a text in lower case, none left out."""
    if text.isascii():
        return _WORD.findall(text.lower())
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).lower()):
        found += _pairs(word) if _SCRIPT.search(word) else [word]
    return found


def _pairs(word: str) -> list[str]:
    """A word that has letters of scripts without spaces: those as overlapping pairs, what stands between as it is."""
    found: list[str] = []
    end = 0
    for run in _SCRIPT.finditer(word):
        if run.start() > end:
            found.append(word[end : run.start()])
        letters, end = run.group(), run.end()
        found += [letters[i : i + 2] for i in range(len(letters) - 1)] or [letters]
    if end < len(word):
        found.append(word[end:])
    return found
