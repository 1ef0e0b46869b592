"""The covers of one text: the ways in which tokens spell it, the last one reaching its end or beyond (see `bytes`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consort.core.errors import BadData
from consort.models.bytewise.trie import Branch, Trie, masses
from consort.models.bytewise.valid_bpe import Validity

END = 256
"""The token that ends a text; at the start of one it says so, and may be left out."""

_KEPT = 64
"""For so many bytes back distributions are kept; after a longer rollback they are read again."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """What covers need to know of a model: its tokens as a trie, what it reads before a text, what ends one.

    `lead` are the bytes that the tokenizer puts before a text, such as SentencePiece's space; `valid` is None if every
    sequence of tokens counts.
    """

    name: str
    pieces: Sequence[bytes | None]
    trie: Trie
    head: tuple[int, ...]
    lead: bytes
    ends: tuple[int, ...]
    window: int | None
    valid: Validity | None
    prune: float
    branches: int


@dataclass(eq=False, slots=True)
class Node:
    """Tokens that end where a byte ends: `path` with the head, `weight` the log-probability of the tokens after it.

    `p` are the probabilities of the next token in byte order, those of invalid ones set to 0; `raw` has them too.
    """

    path: tuple[int, ...]
    weight: float
    p: np.ndarray | None = None
    raw: np.ndarray | None = None
    end: float = 0.0


_Covers = list[tuple[Node, Branch]]
"""Nodes, each with the branch of the tokens that go on as the text does after it."""


class Text:
    """The covers of one text after each of its tokens: bytes, and marks of an end, at which a text begins anew."""

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling
        self.states: list[_Covers] = [[(Node(spelling.head, 0.0), spelling.trie.root)]]
        self.tokens: list[int] = []
        self.dropped = 0.0
        self.begun = False

    def copy(self) -> Text:
        other = Text(self.spelling)
        other.states, other.tokens = list(self.states), list(self.tokens)
        other.dropped, other.begun = self.dropped, self.begun
        return other

    def unread(self) -> list[Node]:
        return [node for node, _ in self.states[-1] if node.p is None]

    @property
    def text(self) -> bytes:
        """The bytes after the last mark of a start."""
        begun = len(self.tokens) - self.tokens[::-1].index(END) if END in self.tokens else 0
        return bytes(self.tokens[begun:])

    def cut(self, length: int) -> None:
        """Forget all but the first tokens."""
        self.tokens, self.states = self.tokens[:length], self.states[: length + 1]

    def commit(self, byte: int) -> None:
        """Go on by a byte, or begin anew at the mark of an end; new nodes are to be read before the next."""
        if byte == END:
            self.states.append(self.states[0])
        else:
            self.states.append(self._pruned(self._next_covers(byte)))
        self.tokens.append(byte)
        if len(self.states) > _KEPT:
            live = {id(node) for node, _ in self.states[-1]}
            for node, _ in self.states[-_KEPT]:
                if id(node) not in live:
                    node.p = node.raw = None

    def _next_covers(self, byte: int) -> _Covers:
        found = self._next(byte, loose=False) or self._next(byte, loose=True)
        if not found:
            what = f"its tokens cannot spell byte 0x{byte:02X} here, or the text is beyond its context window"
            raise BadData(what, field=self.spelling.name)
        return found

    def _next(self, byte: int, *, loose: bool) -> _Covers:
        """Covers of the text with `byte`; `loose` admits invalid ones, for a text that no valid one spells."""
        trie, window, found = self.spelling.trie, self.spelling.window, []
        for node, branch in self.states[-1]:
            child = trie.child(branch, byte)
            if child is None:
                continue
            if loose:
                node.p = node.raw
            assert node.p is not None
            if node.p[child.longer : child.stop].any():
                found.append((node, child))
            if window is not None and len(node.path) >= window:
                continue
            for i in range(child.start, child.longer):
                if node.p[i] > 0:
                    path = (*node.path, int(trie.ids[i]))
                    found.append((Node(path, node.weight + math.log(node.p[i])), trie.root))
        return found

    def _pruned(self, covers: _Covers) -> _Covers:
        prune, most = self.spelling.prune, self.spelling.branches
        if prune == 0 and len(covers) <= most:
            return covers
        top = max(node.weight for node, _ in covers)
        shares = np.array([math.exp(node.weight - top) * _mass(node, branch) for node, branch in covers])
        least = max(prune * shares.sum(), np.sort(shares)[-most] if len(shares) > most else 0.0)
        kept = [cover for cover, share in zip(covers, shares, strict=True) if share >= least][:most]
        self.dropped += float(1 - shares[shares >= least].sum() / shares.sum()) if len(kept) < len(covers) else 0.0
        return kept

    def next_byte(self) -> np.ndarray:
        """Log-probabilities of the bytes and the end, from covers that are all read."""
        covers, found = self.states[-1], np.zeros(257)
        top, trie, window = max(node.weight for node, _ in covers), self.spelling.trie, self.spelling.window
        for node, branch in covers:
            assert node.p is not None
            share = math.exp(node.weight - top)
            found[branch.letters] += share * masses(node.p, branch)
            found[END] += share * node.end if branch is trie.root else 0.0
        if window is not None and all(len(n.path) >= window for n, branch in covers if branch is trie.root):
            whole = any(branch is trie.root for _, branch in covers)
            found = np.eye(257)[END] if whole else found
        with np.errstate(divide="ignore"):
            logs: np.ndarray = np.log(found / found.sum())
        return logs


def _mass(node: Node, branch: Branch) -> float:
    return 1.0 if node.p is None else float(node.p[branch.longer : branch.stop].sum()) if branch.depth else 1.0
