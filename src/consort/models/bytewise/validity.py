"""Which tokens a tokenizer can itself put after those of a text.

A sequence of tokens counts exactly if the tokenizer writes it at the start of some text. Inside a word its word model
decides (`merges`, `unigram`); whether a token begins a word or goes on with one is asked of the tokenizer's own
splitting for every kind of character that may follow; added tokens and the normaliser bar what they would change.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from consort.models.bytewise.characters import beginnings, whole_characters
from consort.models.bytewise.lexicon import Lexicon, added_within
from consort.models.bytewise.merges import Merges
from consort.models.bytewise.splits import BOUND, GOES_ON, JOIN, Window, fits
from consort.models.bytewise.tables import Shapes, shapes
from consort.models.bytewise.tails import Tail, Tails
from consort.models.bytewise.trie import Trie
from consort.models.tokens.pieces import MARK

Mask = NDArray[np.bool_]

_KEPT = 256
"""Masks and tables of texts' ends that are kept."""


class Validity:
    """Masks over the tokens of a trie, in its order."""

    def __init__(self, lexicon: Lexicon, trie: Trie) -> None:
        self.lexicon, self.trie = lexicon, trie
        ids, size = trie.ids, len(lexicon.pieces)
        self.at = np.full(max(size, len(lexicon.words.alone)), -1, np.int64)
        self.at[ids] = np.arange(len(ids))
        self.alone = lexicon.words.alone[ids]
        added = set(lexicon.added.values())
        self.added = np.array([i in added for i in ids.tolist()], bool)
        never = np.zeros(len(self.at), bool)
        never[added_within(lexicon.pieces, lexicon.added)] = True
        self.usable = ~(lexicon.unstable[ids] | never[ids] | self.added)
        self.fallback = np.isin(ids, list(lexicon.fallback.values()))
        self.usable[self.at[[i for i in lexicon.stray if self.at[i] >= 0]]] = False
        self.startable = (self.alone | (lexicon.whole and isinstance(lexicon.words, Merges))) & self.usable
        begin = set(ids[self.startable].tolist())
        self.tails = Tails(lexicon, begin)
        self.shapes = lru_cache(maxsize=4)(self._shapes)
        self.flags = lru_cache(maxsize=_KEPT)(self._flags)
        self.known = lru_cache(maxsize=_KEPT)(self._made)
        begun = [text.decode("utf-8", "ignore")[:1] for text in trie.texts] if lexicon.stable else []
        self._begun, self._begun_of = np.unique(np.array(begun, dtype=str), return_inverse=True)
        self._firsts = lru_cache(maxsize=_KEPT)(self._stable_firsts)
        self.cut_by: dict[bytes, list[bytes]] = {}
        for content in lexicon.added:
            for n in range(1, len(content)):
                self.cut_by.setdefault(content[:n], []).append(content[n:])
        self.covered: dict[bytes, int] = {}
        for form in lexicon.covered:
            for n in range(1, len(form) + 1):
                self.covered[form[:n]] = self.covered.get(form[:n], 0) + 1

    def mask(self, path: Sequence[int]) -> Mask:
        """What can follow these tokens (those of the text alone), and what can begin a text."""
        return self.known(self.tails.tail(path))

    def may_end(self, path: Sequence[int]) -> bool:
        """Whether the tokenizer makes exactly these tokens of their text."""
        tail = self.tails.tail(path)
        window, text, rest = self.tails.window(tail)
        strict = self.lexicon.splits.strict or self.lexicon.trimmed
        if rest or (strict and text.endswith(" ")):
            return False
        if self.lexicon.begins_trimmed and tail.whole and tail.tokens and text.encode() == self.lexicon.lead:
            return False
        return self._closes(window, tail) or not self._goes_on(window)

    def _goes_on(self, window: Window) -> bool:
        """Whether some text that goes on has the window's tokens; one that was not written by the tokenizer may end."""
        splits = self.lexicon.splits
        return not window.lenient and any(fits(window, splits.places(window.shape + end)) for end in splits.ends)

    def _shapes(self, behind: int) -> Shapes:
        """Shapes of the trie's tokens, `behind` letters after an apostrophe."""
        own = self.lexicon.shapes
        if behind > 1:
            return Shapes(own.of[self.trie.ids], own.known)
        letters = [text if text[:1].isalpha() else None for text in self.trie.texts]
        found = shapes(letters, self.lexicon.splits.classes, behind)
        of = np.where(found.of < 0, own.of[self.trie.ids], found.of + len(own.known))
        return Shapes(of, [*own.known, *found.known])

    def _flags(self, window: Window, behind: int) -> NDArray[np.uint8]:
        """What a token of each shape may do after a window; none for the number -1."""
        known = self.shapes(behind).known
        return np.array([*(self.lexicon.splits.may(window, shape, tails) for shape, tails in known), 0], np.uint8)

    def _made(self, tail: Tail) -> Mask:
        window, text, rest = self.tails.window(tail)
        flags = self._allowed(window, text, rest)
        if not flags.any():
            window = Window(window.shape, window.places, window.joined, window.begun, window.open, True)
            flags = self._allowed(window, text, rest)
        if rest and self.lexicon.fallback:
            return self.fallback & self._uncovered(rest)
        closes = not rest and self._closes(window, tail)
        found = (flags & BOUND).astype(bool) & self.startable & self._is_word(window, tail)
        if tail.tokens:
            found |= self._joining(tail, window, flags)
        if self.lexicon.fallback:
            found &= ~self.fallback | self._uncovered(b"")
        if self.lexicon.stable is not None and not rest:
            found &= self._stable(text)
        if tail.inner and not tail.tokens:
            found &= self._starting(b" ") if self.lexicon.leads else ~self._starting(b" ")
        if self.lexicon.splits.strict and text.endswith(" "):
            found &= ~self._starting(b" ")
        if self.lexicon.begins_trimmed and tail.whole and not rest:
            found &= self._trimmed(text.encode())
        if self.added.any() and not rest and (closes or window.lenient):
            found |= self.added & self._not_absorbed(text)
        return self._without_added(tail, found)

    def _allowed(self, window: Window, text: str, rest: bytes) -> NDArray[np.uint8]:
        """For each token what it may do; inside a character only those that go on with it."""
        behind = self.lexicon.splits.classes.since(text)
        if not rest:
            return self.flags(window, behind)[self.shapes(behind).of]
        found = np.zeros(len(self.trie.ids), np.uint8)
        if self.lexicon.fallback:
            return found + np.uint8(JOIN)
        splits, stable, known = self.lexicon.splits, self.lexicon.stable, dict[tuple[str, tuple[str, ...]], int]()
        first, stop = bisect_left(self.trie.texts, b"\x80"), bisect_left(self.trie.texts, b"\xc0")
        for i in range(first, stop):
            split = whole_characters(rest + self.trie.texts[i])
            if split is None or (stable and split[0] and stable(text[-4:]) and not stable(text[-4:] + split[0])):
                continue
            shape = splits.classes.shape(split[0], behind), splits.classes.members(split[1])
            if shape not in known:
                known[shape] = splits.may(window, *shape)
            found[i] = known[shape]
        return found

    def _joining(self, tail: Tail, window: Window, flags: NDArray[np.uint8]) -> Mask:
        """Tokens that go on with the word at the end of the text."""
        words, last = self.lexicon.words, tail.tokens[-1]
        found: Mask = (flags & JOIN).astype(bool) & self.alone & self.usable
        if not words.alone[last] or not found.any():
            return np.zeros(len(found), bool)
        barred = words.barred(last) if isinstance(words, Merges) else words.barred(self._word(tail, window))
        places = self.at[barred]
        found[places[places >= 0]] = False
        if self.lexicon.whole:
            self._longer(self._word_bytes(tail, window), flags, found)
        return found

    def _longer(self, word: bytes, flags: NDArray[np.uint8], found: Mask) -> None:
        """A word that would be a token is none in tokens, unless it goes on."""
        start, stop = self._range(word)
        for text in self.trie.texts[start:stop] if word else ():
            first, end = self._range(text[len(word) :]) if len(text) > len(word) else (0, 0)
            for i in range(first, end):
                if self.trie.texts[i] != text[len(word) :]:
                    break
                found[i] &= bool(flags[i] & GOES_ON)

    def _first_of_word(self, tail: Tail, window: Window) -> int:
        """The number of the token at which the last word begins."""
        begun = (self.lexicon.splits.places(window.shape) & window.places) | (window.places - window.joined)
        if not begun:
            return 0
        own = sorted(window.places)
        aligned = [i for i in range(1, len(tail.tokens)) if self.tails.aligned(tail.tokens[:i])]
        return aligned[own.index(max(begun))] if len(aligned) == len(own) else 0

    def _word_bytes(self, tail: Tail, window: Window) -> bytes:
        own = tail.tokens[self._first_of_word(tail, window) :]
        return b"".join(self.lexicon.pieces[i] or b"" for i in own)

    def _word(self, tail: Tail, window: Window) -> str:
        return self._word_bytes(tail, window).decode("utf-8", "ignore").replace(" ", MARK)

    def _closes(self, window: Window, tail: Tail) -> bool:
        """Whether the text's last word may end here."""
        places = self.lexicon.splits.places(window.shape)
        if self.lexicon.prepends and self._word_bytes(tail, window) == b" " and tail.whole:
            return False
        if not window.lenient and not fits(window, places):
            return False
        return self._is_word(window, tail)

    def _is_word(self, window: Window, tail: Tail) -> bool:
        """Whether the tokens of the last word are not one token by themselves, where such a word would be looked up."""
        if not self.lexicon.whole:
            return True
        first = self._first_of_word(tail, window)
        return len(tail.tokens) - first < 2 or not self._is_token(self._word_bytes(tail, window))

    def _is_token(self, text: bytes) -> bool:
        start = bisect_left(self.trie.texts, text)
        return self.trie.texts[start : start + 1] == [text]

    def _uncovered(self, rest: bytes) -> Mask:
        """Fallback tokens that go on with, or are, characters that are not in the vocabulary."""
        found = np.zeros(len(self.trie.ids), bool)
        for byte, token in self.lexicon.fallback.items():
            form = rest + bytes([byte])
            total = beginnings(form) or int(whole_characters(form) is not None)
            if self.at[token] >= 0:
                found[self.at[token]] = total > self.covered.get(form, 0)
        return found

    def _stable(self, text: str) -> Mask:
        """Tokens whose first character the normaliser leaves as it is after this text."""
        found: Mask = self._firsts(text[-1:] if text[-1:].isascii() else text[-4:])[self._begun_of]
        return found

    def _stable_firsts(self, text: str) -> Mask:
        stable, composing = self.lexicon.stable, self.lexicon.composing
        assert stable is not None
        if not stable(text):
            return np.ones(len(self._begun), bool)
        return np.array(
            [
                (composing is not None and first not in composing) or stable(text + first)
                for first in self._begun.tolist()
            ],
            bool,
        )

    def _range(self, start: bytes) -> tuple[int, int]:
        """The tokens that begin with these bytes."""
        first = bisect_left(self.trie.texts, start)
        return first, bisect_left(self.trie.texts, start + b"\xff" * 4, first)

    def _starting(self, start: bytes) -> Mask:
        found = np.zeros(len(self.trie.ids), bool)
        found[slice(*self._range(start))] = True
        return found

    def _trimmed(self, text: bytes) -> Mask:
        """Tokens after which what follows the tokenizer's own space does not begin with one."""
        lead = self.lexicon.lead
        if text not in (b"", lead):
            return np.ones(len(self.trie.ids), bool)
        left = lead.removeprefix(text)
        return np.array(
            [not t.removeprefix(left).decode("utf-8", "ignore")[:1].isspace() for t in self.trie.texts], bool
        )

    def _not_absorbed(self, text: str) -> Mask:
        """Added tokens, without those that would take the space at the text's end with them."""
        if not text[-1:].isspace():
            return self.added
        absorbing = [i for i, (left, _) in self.lexicon.absorbing.items() if left]
        return self.added & ~np.isin(self.trie.ids, absorbing)

    def _without_added(self, tail: Tail, found: Mask) -> Mask:
        """Bars tokens with which the text would have an added token's text across its end."""
        for n in range(1, len(tail.before) + 1):
            start = len(tail.before) - n
            if any(a < start < b for a, b in tail.spans):
                continue
            for rest in self.cut_by.get(tail.before[start:], ()):
                found = found & ~self._starting(rest)
        return found
