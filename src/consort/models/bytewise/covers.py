"""The covers of one text: the ways in which tokens spell it, the last one reaching its end or beyond (see `model`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from consort.core.errors import BadData
from consort.models.bytewise.trie import Branch, Trie, masses
from consort.models.bytewise.validity import Validity

END = 256
"""The token that ends a text; at the start of one it says so, and may be left out."""

_KEPT = 64
"""For so many bytes back distributions are kept; after a longer rollback they are read again."""

OWN, SMOOTH, ANY, ANY_SMOOTH = range(4)
"""How a node's next tokens are weighed: by the model, as far as they are valid; all valid ones alike; and the same two
for tokens that need not be valid. Each is the limit of the one before for texts that have no probability by it."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """What covers need to know of a model: its tokens as a trie, what it reads before a text, what ends one.

    `lead` are the bytes that the tokenizer puts before a text, such as SentencePiece's space; `valid` is None if every
    sequence of tokens counts; `unknown` is the token for what the tokenizer cannot write.
    """

    name: str
    pieces: Sequence[bytes | None]
    trie: Trie
    head: tuple[int, ...]
    lead: bytes
    ends: tuple[int, ...]
    unknown: int | None
    window: int | None
    valid: Validity | None
    prune: float
    branches: int


@dataclass(eq=False, slots=True)
class Node:
    """Tokens that end where a byte ends: `path` with the head, `weight` the log-probability of the tokens after it.

    `raw` are the probabilities of the next token in byte order, `p` what they count for (`how`: OWN, SMOOTH, ...),
    `end` that of the end of the text. `added`: only added tokens may follow, which need nothing before a text.
    """

    path: tuple[int, ...]
    weight: float
    p: np.ndarray | None = None
    raw: np.ndarray | None = None
    end: float = 0.0
    how: int = OWN
    added: bool = False


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
        """Another that goes on by itself."""
        other = Text(self.spelling)
        other.states, other.tokens = list(self.states), list(self.tokens)
        other.dropped, other.begun = self.dropped, self.begun
        return other

    def unread(self) -> list[Node]:
        return [node for node, _ in self.states[-1] if node.p is None]

    def put_before(self, byte: int) -> None:
        """Go on by a byte that the tokenizer puts before a text; new nodes are to be read after."""
        self.states = [self._next_covers(byte)]

    def begin(self, head: Node) -> None:
        """The text begins here. `head` is the node of its start, after which an added token needs nothing before it."""
        if self.spelling.lead and self.spelling.valid is not None:
            first = replace(head, added=True)
            first.p = self._weighed(first, OWN)
            self.states[0] = [*self.states[0], (first, self.spelling.trie.root)]
        self.begun = True

    def learn(self, node: Node, p: np.ndarray) -> None:
        """What the model says after a node, by token."""
        texts = self.spelling
        own = node.path[len(texts.head) :]
        node.raw = p[texts.trie.ids]
        ends = texts.valid is None or texts.valid.may_end(own)
        node.end = float(p[list(texts.ends)].sum()) if ends else 0.0
        node.p = self._weighed(node, node.how)

    def _weighed(self, node: Node, how: int) -> np.ndarray:
        assert node.raw is not None
        valid = self.spelling.valid
        if how >= ANY or valid is None:
            return np.full(len(node.raw), 1 / len(node.raw)) if how in (SMOOTH, ANY_SMOOTH) else node.raw
        mask = valid.added if node.added else valid.mask(node.path[len(self.spelling.head) :])
        return mask / max(len(node.raw), 1) if how == SMOOTH else np.where(mask, node.raw, 0.0)

    @property
    def text(self) -> bytes:
        """The bytes after the last mark of a start."""
        begun = len(self.tokens) - self.tokens[::-1].index(END) if END in self.tokens else 0
        return bytes(self.tokens[begun:])

    @property
    def full(self) -> bool:
        """Whether the context window has no room for another token of any cover."""
        window = self.spelling.window
        return window is not None and all(len(node.path) >= window for node, _ in self.states[-1])

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
        """Covers of the text with `byte`; of a text without probability those that it is conditional on."""
        for how in (OWN, SMOOTH, ANY, ANY_SMOOTH):
            if found := self._next(byte, how):
                return found
        found = self._unwritten(byte)
        if not found:
            what = f"its tokens cannot spell byte 0x{byte:02X} here, or the text is beyond its context window"
            raise BadData(what, field=self.spelling.name)
        return found

    def _next(self, byte: int, how: int) -> _Covers:
        trie, window, found = self.spelling.trie, self.spelling.window, []
        for own, branch in self.states[-1]:
            child = trie.child(branch, byte)
            if child is None:
                continue
            # states before this one keep their nodes as they are
            node = own if how <= own.how else replace(own, p=self._weighed(own, how), how=how)
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

    def _unwritten(self, byte: int) -> _Covers:
        """The unknown token for a character that the tokenizer cannot write; its further bytes change nothing."""
        unknown, window = self.spelling.unknown, self.spelling.window
        node, _ = max(self.states[-1], key=lambda cover: cover[0].weight)
        if unknown is None or (window is not None and len(node.path) >= window):
            return []
        if 0x80 <= byte < 0xC0 and node.path[-1] == unknown:
            return [(node, self.spelling.trie.root)]
        return [(Node((*node.path, unknown), node.weight), self.spelling.trie.root)]

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
        covers, window = self.states[-1], self.spelling.window
        if self.full and any(branch is self.spelling.trie.root for _, branch in covers):
            return _logs(np.eye(257)[END])
        if window is not None and not self.full:
            covers = [(node, branch) for node, branch in covers if len(node.path) < window]
        for how in (OWN, SMOOTH, ANY, ANY_SMOOTH):
            found = self._masses(covers, how)
            if found.sum() != 0:  # NaN is for the caller to see
                break
        return _logs(found / found.sum())

    def _masses(self, covers: _Covers, how: int) -> np.ndarray:
        found, trie = np.zeros(257), self.spelling.trie
        top = max(node.weight for node, _ in covers)
        for node, branch in covers:
            p = node.p if how <= node.how else self._weighed(node, how)
            assert p is not None
            share = math.exp(node.weight - top)
            found[branch.letters] += share * masses(p, branch)
            found[END] += share * node.end if branch is trie.root else 0.0
        return found


def _logs(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        logs: np.ndarray = np.log(p)
    return logs


def _mass(node: Node, branch: Branch) -> float:
    return 1.0 if node.p is None else float(node.p[branch.longer : branch.stop].sum()) if branch.depth else 1.0
