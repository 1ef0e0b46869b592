"""The ends of texts in tokens, as far as they decide what can follow."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from consort.models.bytewise.characters import whole_characters
from consort.models.bytewise.lexicon import Lexicon
from consort.models.bytewise.merges import Merges
from consort.models.bytewise.splits import Window

_FAR, _NEAR = 48, 4
"""How many tokens of a text can matter: with words, and where only neighbours do."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a text in tokens: those that matter, since the last added token at most.

    `whole`: nothing stands before them but an added token. `inner`: they follow an added token that decides how the
    text after it begins. `before` are the last bytes of the text, in which an added token might begin; `spans` where
    added tokens stand in it.
    """

    tokens: tuple[int, ...]
    whole: bool
    inner: bool
    before: bytes
    spans: tuple[tuple[int, int], ...]


class Tails:
    """Tails of texts; `begin` are the tokens that can begin a word."""

    def __init__(self, lexicon: Lexicon, begin: Collection[int]) -> None:
        self.lexicon, self.begin = lexicon, begin
        self.longest = max(map(len, lexicon.added), default=0)
        self.safe = 2 in lexicon.splits.places("ab cd")

    def tail(self, path: Sequence[int]) -> Tail:
        lexicon, far = self.lexicon, _FAR if self.lexicon.splits.cut or not self._pairs else _NEAR
        start = max(0, len(path) - far)
        added = [i for i in range(start, len(path)) if path[i] in self._added_ids]
        begin = added[-1] + 1 if added else start
        before, spans = b"", []
        for token in path[max(0, len(path) - self.longest) :] if self.longest > 1 else ():
            piece = lexicon.pieces[token] or b""
            if token in self._added_ids:
                spans.append((len(before), len(before) + len(piece)))
            before += piece
        cut = max(0, len(before) - self.longest + 1)
        kept = tuple((a - cut, b - cut) for a, b in spans if b > cut)
        absorbing = bool(added) and begin == len(path) and lexicon.absorbing[path[-1]][1]
        inner = bool(added) and (lexicon.leads or absorbing)
        tokens = self._cut(path[begin:])
        whole = len(tokens) == len(path) - begin and (begin == 0 or bool(added))
        return Tail(tokens, whole, inner, before[cut:], kept)

    @property
    def _pairs(self) -> bool:
        return isinstance(self.lexicon.words, Merges)

    @property
    def _added_ids(self) -> dict[int, tuple[bool, bool]]:
        return self.lexicon.absorbing

    def _cut(self, path: Sequence[int]) -> tuple[int, ...]:
        """From the last place on where a word begins after a letter, whatever stands around."""
        if self.safe:
            for i in range(len(path) - 1, 0, -1):
                here, last = self.lexicon.pieces[path[i]] or b"", self.lexicon.pieces[path[i - 1]] or b""
                if here[:1] == b" " and len(here) > 1 and here[1:2].isalnum() and last[-1:].isalpha():
                    return tuple(path[i:])
        return tuple(path)

    def window(self, tail: Tail) -> tuple[Window, str, bytes]:
        """The text of a tail by its shape, the text itself, and the bytes of a character that it ends inside of."""
        classes, pieces, words = self.lexicon.splits.classes, self.lexicon.pieces, self.lexicon.words
        shape, text, buffer = "", "", b""
        places, joined, begun = set[int](), set[int](), set[int]()
        lenient = False
        for i, token in enumerate(tail.tokens):
            if i and not buffer:
                places.add(len(shape))
                if not isinstance(words, Merges) or words.joins(tail.tokens[i - 1], token):
                    joined.add(len(shape))
                if token in self.begin:
                    begun.add(len(shape))
            buffer += pieces[token] or b""
            split = whole_characters(buffer)
            if split is None:
                split, lenient = (buffer.decode("utf-8", "ignore"), b""), True
            if not split[1] or i == len(tail.tokens) - 1:
                shape += classes.shape(split[0], classes.since(text))
                text, buffer = text + split[0], split[1]
        if not buffer:
            places.discard(len(shape))
        own = (frozenset(places), frozenset(joined & places), frozenset(begun & places))
        return Window(shape, *own, bool(buffer), lenient), text, buffer

    def aligned(self, tokens: Sequence[int]) -> bool:
        """Whether tokens end where a character does."""
        split = whole_characters(b"".join(self.lexicon.pieces[i] or b"" for i in tokens))
        return split is None or not split[1]
