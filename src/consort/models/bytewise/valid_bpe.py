"""Which tokens a tokenizer can itself put after a token: byte pair encoding, checked pair by pair.

A sequence of byte pair encoding is one that the tokenizer makes exactly if that holds of each pair of neighbours
(2506.14123, section 3). Where text is split into words first, a pair is judged with its words' ends in view.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from consort.core.errors import Unsupported
from consort.models.base import Tokenizer
from consort.models.tokens.align import byte_alphabet

Names = list[str]


class BytePairs:
    """The merges of a byte pair encoding, run on any bytes, also on those of a part of a character."""

    def __init__(self, spec: dict[str, Any]) -> None:
        model = spec["model"]
        self.ids: dict[str, int] = model["vocab"]
        pairs = (tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"])
        self.ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self.by_bytes = "ByteLevel" in f"{spec['decoder']} {spec['pre_tokenizer']}"
        self.whole_first: bool = model.get("ignore_merges", False)
        self._letters = {b: c for c, b in byte_alphabet().items()}

    def split(self, text: bytes) -> Names:
        """The tokens that the merges make of `text`, taken as one word."""
        names = list(self._symbols(text))
        if self.whole_first and "".join(names) in self.ids:
            return ["".join(names)]
        while len(names) > 1:
            ranks = [self.ranks.get(pair, len(self.ranks)) for pair in zip(names, names[1:], strict=False)]
            at = min(range(len(ranks)), key=ranks.__getitem__)
            if ranks[at] == len(self.ranks):
                break
            names[at : at + 2] = [names[at] + names[at + 1]]
        return names

    def _symbols(self, text: bytes) -> Iterator[str]:
        if self.by_bytes:
            yield from (self._letters[b] for b in text)
            return
        for char in text.replace(b" ", "\u2581".encode()).decode("utf-8", "surrogateescape"):
            known = char in self.ids
            yield from (char,) if known else (f"<0x{b:02X}>" for b in char.encode("utf-8", "surrogateescape"))


class Validity:
    """For each token, which tokens can come next. `pieces` are the tokens' bytes, None for those that are no text."""

    def __init__(self, tokenizer: Tokenizer, pieces: Sequence[bytes | None]) -> None:
        self.pieces = pieces
        self.backend: Any = getattr(getattr(tokenizer, "tokenizer", None), "backend_tokenizer", None)
        self.pairs: BytePairs | None = None
        if self.backend is None:  # tokens that are characters or bytes: there is only one way to write a text
            return
        spec = json.loads(self.backend.to_str())
        if spec["model"]["type"] != "BPE":
            hint = "covers: all counts every sequence of tokens"
            raise Unsupported(f"{spec['model']['type']} is no byte pair encoding", field="covers", hint=hint)
        self.pairs = BytePairs(spec)
        self.splits_words = spec["pre_tokenizer"] is not None
        self.names = {i: name for name, i in self.pairs.ids.items()}
        self.after = cache(self._after)

    def mask(self, token: int | None) -> np.ndarray | None:
        """What can follow `token` (None: begin a text), for each token; None if everything can."""
        return None if self.pairs is None else self.after(token)

    def _after(self, token: int | None) -> np.ndarray:
        assert self.pairs is not None
        if token is None:
            return self._judged(b"", [], [i for i, piece in enumerate(self.pieces) if piece])
        alone = self.after(None)
        name, piece = self.names.get(token, ""), self.pieces[token] or b""
        if self.splits_words:
            return self._judged(piece, [token], np.flatnonzero(alone).tolist())
        allowed = alone.copy()
        touched = self._touched(name) | (self._bytes if name.startswith("<0x") else set())
        judged = self._judged(piece, [token], [i for i in touched if alone[i]])
        allowed[list(touched)] = judged[list(touched)]
        return allowed

    def _judged(self, before: bytes, head: list[int], tokens: list[int]) -> np.ndarray:
        """True for those of `tokens` that follow the token `head`, of bytes `before`, in what the tokenizer makes."""
        found = np.zeros(len(self.pieces), dtype=bool)
        texts = {i: before + (self.pieces[i] or b"") for i in tokens}
        clear = {i: text.decode() for i, text in texts.items() if self.splits_words and _is_text(text)}
        for tail in ("", "a"):  # a space at the end may belong to the next word
            asked = [i for i in clear if not found[i] and (not tail or clear[i][-1].isspace())]
            made = self.backend.encode_batch([clear[i] + tail for i in asked], add_special_tokens=False)
            for i, encoding in zip(asked, made, strict=True):
                found[i] = encoding.ids[: len(head) + 1] == [*head, i]
        assert self.pairs is not None
        for i in texts.keys() - clear.keys():
            found[i] = [self.pairs.ids.get(name) for name in self.pairs.split(texts[i])] == [*head, i]
        return found

    def _touched(self, name: str) -> set[int]:
        """Tokens that a merge might join to the end of `name`; no other needs to be judged."""
        rights = {right for n in range(len(name)) for right in self._followers.get(name[n:], ())}
        return {i for right in rights for i in self._beginning.get(right, ())}

    @property
    def _followers(self) -> dict[str, set[str]]:
        return self._index()[0]

    @property
    def _beginning(self) -> dict[str, list[int]]:
        return self._index()[1]

    @property
    def _bytes(self) -> set[int]:
        return self._index()[2]

    def _index(self) -> tuple[dict[str, set[str]], dict[str, list[int]], set[int]]:
        assert self.pairs is not None
        return _indexed(self.pairs)


@cache
def _indexed(pairs: BytePairs) -> tuple[dict[str, set[str]], dict[str, list[int]], set[int]]:
    """What follows a left half in a merge; tokens by each beginning of their names; tokens that are single bytes."""
    followers: dict[str, set[str]] = defaultdict(set)
    for left, right in pairs.ranks:
        followers[left].add(right)
    rights = {right for _, right in pairs.ranks}
    beginning: dict[str, list[int]] = defaultdict(list)
    for name, i in pairs.ids.items():
        for n in range(1, len(name) + 1):
            if name[:n] in rights:
                beginning[name[:n]].append(i)
    return followers, beginning, {i for name, i in pairs.ids.items() if name.startswith("<0x")}


def _is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
