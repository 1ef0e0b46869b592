"""Token pruning segment by segment (LLMLingua, 2310.05736, section 4.2): what was dropped is not read again.

A segment is scored after the *compressed* text before it; then the session steps back to the segment's start and reads
what is kept of it, so the cache is reused. With a question, each token's score is contrastive (LongLLMLingua,
2310.06839, eq. 3): NLL(x_i) - NLL(x_i | question), from two rows of one session, read side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.compress.compressor import Job
from consort.core.types import Usage
from consort.models.decoding.decode import start


@dataclass(slots=True)
class Prefix:
    """What a session has read: for each row a head that stays, and the kept tokens that all rows share."""

    model: Any
    heads: list[list[int]]
    kept: list[int] = field(default_factory=list)
    held: int = 0
    """How many of the last kept tokens the session holds."""
    after: list[Tensor] = field(default_factory=list)
    """Logits of what follows, one row each; empty where nothing has been read."""
    session: Any = None
    read: int = 0

    def __post_init__(self) -> None:
        self.session = self.model.open(len(self.heads))
        self._begin([])

    def _begin(self, tokens: Sequence[int]) -> None:
        """Read the heads and these tokens afresh."""
        self.session.rollback([0] * len(self.heads))
        self.after = self._feed([[*head, *tokens] for head in self.heads], last=True)
        self.held = len(tokens)

    def _feed(self, rows: list[list[int]], *, last: bool) -> list[Tensor]:
        if not any(rows):
            return []
        self.read += sum(map(len, rows))
        found: list[Tensor] = self.session.feed(rows, last=last)
        return found

    @property
    def room(self) -> int | None:
        window = self.model.window
        return None if window is None else window - max(map(len, self.heads)) - self.held

    def surprisal(self, tokens: Sequence[int]) -> Float[np.ndarray, "row token"]:
        """-log p (nats) of each token of a segment after what is kept, by row; NaN for one that follows nothing."""
        if self.room is not None and self.room < len(tokens):
            whole = self.room + self.held
            self._begin(
                self.kept[len(self.kept) - max(0, min(whole // 2, whole - len(tokens))) :]
                if whole > len(tokens)
                else []
            )
        logits = self._feed([list(tokens)] * len(self.heads), last=False)
        found = np.full((len(self.heads), len(tokens)), np.nan)
        wanted = torch.tensor(list(tokens), dtype=torch.long)
        for row, own in enumerate(logits):
            before = torch.cat([self.after[row], own[:-1]]) if self.after and len(self.after[row]) else own[:-1]
            at = wanted[len(wanted) - len(before) :].to(before.device)
            nll = -before.log_softmax(-1).gather(-1, at[:, None])[:, 0]
            found[row, len(wanted) - len(before) :] = nll.cpu().numpy()
        return found

    def keep(self, tokens: Sequence[int], read: int) -> None:
        """Of the segment just read, of `read` tokens, only `tokens` have been: the cache steps back and reads them."""
        ends = [len(head) + self.held for head in self.heads]
        self.session.rollback(ends)
        if tokens:
            self.after = self._feed([list(tokens)] * len(self.heads), last=True)
        self.kept += tokens
        self.held += len(tokens)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens of one text with the unit that each is in, and the share of them that may stay."""

    ids: Sequence[int]
    owner: np.ndarray
    units: int
    share: float


@dataclass(frozen=True, slots=True)
class Judged:
    """For each unit of a stretch its importance, and whether it was kept while reading."""

    scores: Float[np.ndarray, " unit"]
    kept: list[bool]


def judge(
    model: Any,
    stretches: Sequence[Stretch],
    *,
    size: int,
    job: Job,
    question: Sequence[int] | None = None,
    unknown: float = 0.0,
) -> list[Judged]:
    """The units of all stretches, read in order, in segments of `size` tokens.

    A token that follows nothing is scored `unknown`. Within a segment the units of most surprise are kept until they
    are the share of it.
    """
    begun, window = perf_counter(), model.window
    head = start(model.tokenizer)
    heads = [head]
    if question is not None:
        most = len(question) if window is None else max(1, window // 2 - len(head))
        heads.append([*head, *question[-most:]])
    if window is not None:
        size = max(1, min(size, (window - max(map(len, heads))) // 2))
    prefix, found = Prefix(model, heads), []
    for stretch in stretches:
        found.append(_judged(prefix, stretch, size, unknown))
    job.spent.append((model, Usage(prefix.read, 0, 1, perf_counter() - begun)))
    return found


def _judged(prefix: Prefix, stretch: Stretch, size: int, unknown: float) -> Judged:
    total, count = np.zeros(stretch.units), np.bincount(stretch.owner, minlength=stretch.units)
    kept = [False] * stretch.units
    at = 0
    while at < len(stretch.ids):
        end = _segment_end(stretch.owner, at, size)
        ids, owner = list(stretch.ids[at:end]), stretch.owner[at:end]
        nll = prefix.surprisal(ids)
        score = nll[0] - nll[1] if len(nll) == 2 else nll[0]
        np.add.at(total, owner, np.where(np.isnan(score), unknown, score))
        chosen = _top(score, owner, stretch.share, unknown)
        for unit in chosen:
            kept[unit] = True
        prefix.keep([token for token, unit in zip(ids, owner.tolist(), strict=True) if unit in chosen], len(ids))
        at = end
    scores = np.divide(total, count, out=np.full(stretch.units, -np.inf), where=count > 0)
    return Judged(scores, kept)


def _segment_end(owner: np.ndarray, at: int, size: int) -> int:
    """The end of the segment that begins at `at`: at most `size` tokens, and where it can be, no unit is cut."""
    end = min(at + size, len(owner))
    whole = end
    while at < whole < len(owner) and owner[whole] == owner[whole - 1]:
        whole -= 1
    return whole if whole > at else end


def _top(score: np.ndarray, owner: np.ndarray, share: float, unknown: float) -> set[int]:
    """The most surprising units of a segment, as many as come nearest to the share of its tokens."""
    units, inverse, sizes = np.unique(owner, return_inverse=True, return_counts=True)
    mean = np.bincount(inverse, np.where(np.isnan(score), unknown, score)) / sizes
    wanted, taken, chosen = share * len(owner), 0, set()
    for i in np.argsort(-mean, kind="stable").tolist():
        if taken + sizes[i] / 2 > wanted:
            break
        taken += int(sizes[i])
        chosen.add(int(units[i]))
    return chosen
