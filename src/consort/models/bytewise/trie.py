"""The byte trie of a vocabulary: tokens in byte order, each node of the trie a range of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(eq=False, slots=True)
class Branch:
    """The tokens `start` to `stop` (in byte order), which begin with the same `depth` bytes; up to `longer` they end.

    `letters` are the bytes that follow, `starts` where the tokens of each begin.
    """

    start: int
    stop: int
    depth: int
    longer: int
    letters: np.ndarray
    starts: np.ndarray
    children: dict[int, Branch] = field(default_factory=dict)


class Trie:
    """Tokens by their bytes; `ids` are token ids in byte order. Tokens without bytes are left out."""

    def __init__(self, pieces: Sequence[bytes | None]) -> None:
        known = sorted((piece, i) for i, piece in enumerate(pieces) if piece)
        self.texts = [piece for piece, _ in known]
        self.ids = np.array([i for _, i in known], dtype=np.int64)
        self.root = self._branch(0, len(known), 0)

    def _branch(self, start: int, stop: int, depth: int) -> Branch:
        longer = next((i for i in range(start, stop) if len(self.texts[i]) > depth), stop)
        following = np.array([text[depth] for text in self.texts[longer:stop]], dtype=np.int64)
        letters, first = np.unique(following, return_index=True)
        return Branch(start, stop, depth, longer, letters, first + longer)

    def child(self, branch: Branch, byte: int) -> Branch | None:
        """The branch of the tokens that go on with `byte`; None if there are none."""
        if byte not in branch.children:
            at = int(np.searchsorted(branch.letters, byte))
            if at == len(branch.letters) or branch.letters[at] != byte:
                return None
            stop = branch.starts[at + 1] if at + 1 < len(branch.starts) else branch.stop
            branch.children[byte] = self._branch(int(branch.starts[at]), int(stop), branch.depth + 1)
        return branch.children[byte]


def masses(p: np.ndarray, branch: Branch) -> np.ndarray:
    """Summed `p` (by token in byte order) of the tokens that go on with each of `branch.letters`.

    Sums are taken range by range, never as differences of running sums, so small ones keep their digits.
    """
    if not len(branch.starts):
        return np.zeros(0)
    return np.add.reduceat(p[branch.longer : branch.stop], branch.starts - branch.longer)
