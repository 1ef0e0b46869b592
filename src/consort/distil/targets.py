"""Rows of several models fused into one target a position: MinCE, AvgCE, fixed weights (FuseLLM, FuseChat).

Row i of a document predicts token i + 1; a position belongs to the unit (answer, document, token) that holds the token
it predicts. Losses of models with different tokenizers are compared per byte, since per token the finer tokenizer
would win; the released code's loss per token is `ce_unit: token`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.distil.corpus import Document
from consort.distil.options import Alignment, Function
from consort.distil.pairing import Pair
from consort.distil.rows import Rows, Source
from consort.distil.translation import Floats, merged, spelled_out, translated
from consort.models.base import Tokenizer
from consort.models.tokens.ends import Ids


@dataclass(frozen=True, slots=True)
class Target:
    """What the student learns from one document.

    `tokens` is what it reads. For each learnt position: `at` the row, `label` the next token, `ids` and `p` the
    fused distribution (0 where nothing is), `rest` the probability of all other tokens (only with tail `bucket`),
    `reward` exp(-loss) of the best candidate. `chosen` is the candidate taken in each unit, -1 where rows are mixed.
    """

    tokens: Ids
    at: Ids
    label: Ids
    ids: Ids
    p: Floats
    rest: Floats
    reward: Floats
    chosen: Ids


class Teaching(Protocol):
    """What a student learns from, document by document."""

    def target(self, document: Document) -> Target: ...


@dataclass(frozen=True, slots=True)
class Carried:
    """One candidate's rows on the pivot's learnt positions, and its loss in every unit, per byte or token."""

    ids: Ids
    p: Floats
    rest: Floats
    rate: Floats


def mix_weights(losses: Sequence[float] | Floats, kind: str = "official") -> Floats:
    """AvgCE's weight of each model: softmax of exp(-loss), nearly uniform; `reward`: exp(-loss) normalised."""
    rewards = np.exp(-np.asarray(losses, np.float64))
    rewards = np.exp(rewards) if kind == "official" else rewards
    whole: Floats = rewards / rewards.sum(0)
    return whole


def units(document: Document, next_end: Ids, unit: str) -> Ids:
    """The unit of each row, -1 for a row whose token is not learnt."""
    found = np.full(len(next_end), -1)
    for number, (start, stop) in enumerate(document.learnt()):
        inside = (next_end > start) & (next_end <= stop)
        found[inside] = number if unit in ("turn", "group") else 0
    if unit == "token":
        found[found >= 0] = np.arange((found >= 0).sum())
    return found


def check_function(options: Function, candidates: int) -> None:
    """Raise BadParameter unless the options fit so many candidates."""
    given = len(options.weights or ())
    if options.function == "weighted" and given != candidates:
        first = "the pivot first, then " if options.pivot else ""
        hint = f"give {counted(candidates, 'number')}: {first}one for each source"
        raise BadParameter(f"{given} weights", field="fuse.weights", hint=hint)
    if options.function == "weighted" and not any(options.weights or ()):
        raise BadParameter("are all 0", field="fuse.weights", hint="give at least one candidate some weight")
    if options.unit == "group" and options.function != "min_ce":
        raise BadParameter("is a unit of min_ce only", field="fuse.unit", hint="take another unit, or min_ce")


class Fusion:
    """A pivot and its sources as a function from documents to targets.

    `pivot_rows` is needed where the pivot is a candidate (`options.pivot`). `documents` are all there are, for the unit
    `group`. Raises BadParameter for weights that are not one for each candidate.
    """

    def __init__(
        self,
        pivot: Tokenizer,
        pivot_rows: Source | None,
        sources: Sequence[tuple[Source, Pair]],
        options: Function,
        alignment: Alignment,
        *,
        documents: Sequence[Document] = (),
        keep: int = 4096,
    ) -> None:
        self.pivot, self.options, self.alignment = pivot, options, alignment
        self.documents, self.keep = documents, keep
        own: list[tuple[Source, Pair | None]] = [(pivot_rows, None)] if options.pivot and pivot_rows else []
        self.candidates: tuple[tuple[Source, Pair | None], ...] = (*own, *sources)
        self._known: OrderedDict[int, Target] = OrderedDict()
        check_function(options, len(self.candidates))

    def target(self, document: Document) -> Target:
        """The target of a document; the last `keep` are remembered."""
        if document.key not in self._known:
            self._known[document.key] = self._made(document)
            if len(self._known) > self.keep:
                self._known.popitem(last=False)
        self._known.move_to_end(document.key)
        return self._known[document.key]

    def _made(self, document: Document) -> Target:
        spelled = document.spelled(self.pivot)
        unit = units(document, spelled.ends[1:], self.options.unit)
        at = np.flatnonzero(unit >= 0)
        found = [self._carried(document, candidate, unit, at) for candidate in self.candidates]
        label, own = spelled.ids[at + 1], unit[at]
        rates = np.stack([c.rate for c in found])
        chosen = self._chosen(document, rates)
        ids, p, rest = self._finished(*self._fused(found, rates, chosen, own))
        if self.alignment.unaligned == "one_hot":
            bare = (p.sum(1) + rest) == 0
            fallback = label if self.alignment.fallback == "next_token" else spelled.ids[at]
            ids[bare, 0], p[bare, 0] = fallback[bare], 1.0
        reward: Floats = np.exp(-rates.min(0))[own]
        return Target(spelled.ids, at, label, ids, p, rest, reward, chosen)

    def _chosen(self, document: Document, rates: Floats) -> Ids:
        """The candidate of each unit by MinCE; of equal losses the first: the pivot, then the sources in order."""
        if self.options.function != "min_ce":
            return np.full(rates.shape[1], -1)
        if self.options.unit == "group" and document.group in self.by_group:
            return np.full(rates.shape[1], self.by_group[document.group])
        lowest: Ids = rates.argmin(0)
        return lowest

    @cached_property
    def by_group(self) -> dict[str | None, int]:
        """The candidate that has the lowest loss in most answers of each group."""
        wins: dict[str | None, Ids] = {}
        for document in self.documents:
            if document.group is not None:
                unit = units(document, document.spelled(self.pivot).ends[1:], "turn")
                rates = np.stack(
                    [self._rate(document, rows.rows(document), pair, unit) for rows, pair in self.candidates]
                )
                own = np.bincount(rates.argmin(0), minlength=len(rates))
                wins[document.group] = wins.get(document.group, np.zeros(len(rates), np.int64)) + own
        return {group: int(counts.argmax()) for group, counts in wins.items()}

    def _carried(self, document: Document, candidate: tuple[Source, Pair | None], unit: Ids, at: Ids) -> Carried:
        source, pair = candidate
        rows = source.rows(document)
        rate = self._rate(document, rows, pair, unit)
        if rows is None or not len(rows):
            empty = np.zeros((len(at), 1))
            return Carried(empty.astype(np.int64), empty, empty[:, 0], rate)
        to = None if pair is None or self._is_identity(pair) else pair.ids
        taken, following = at if pair is None else pair.partners(document)[at], None
        if to is not None and self.alignment.spelled and self.alignment.positions == "end_offset":
            spelled = (document.spelled(tokenizer) for tokenizer in (self.pivot, source.tokenizer))
            following = spelled_out(rows, taken, at, *spelled)
        found, p, rest = translated(rows.take(taken), to, following, collisions=self.alignment.collisions)
        have = taken >= 0
        return Carried(found, np.where(have[:, None], p, 0.0), np.where(have, rest, 0.0), rate)

    def _is_identity(self, pair: Pair) -> bool:
        return len(pair.ids) == self.pivot.vocab_size and bool((pair.ids == np.arange(len(pair.ids))).all())

    def _rate(self, document: Document, rows: Rows | None, pair: Pair | None, unit: Ids) -> Floats:
        """A candidate's loss (nats) in every unit, by the unit's length in bytes or in the candidate's own tokens."""
        count = int(unit.max(initial=-1)) + 1
        if rows is None or not len(rows):
            return np.full(count, np.inf)
        by_byte = self.options.ce_unit == "byte"
        width = (rows.next_end - rows.end).astype(np.float64) if by_byte else np.ones(len(rows))
        if self.options.unit == "token":
            own = np.flatnonzero(unit >= 0) if pair is None else pair.partners(document)[unit >= 0]
            return np.where(own >= 0, rows.ce[own] / np.maximum(width[own], 1), np.inf).astype(np.float64)
        inside = units(document, rows.next_end, self.options.unit)
        inside = np.zeros(len(rows), np.int64) if self.options.unit == "sequence" else inside
        learnt = inside >= 0
        loss = np.bincount(inside[learnt], rows.ce[learnt], minlength=count)[:count]
        return loss / np.maximum(np.bincount(inside[learnt], width[learnt], minlength=count)[:count], 1)

    def _fused(self, found: Sequence[Carried], rates: Floats, chosen: Ids, own: Ids) -> tuple[Ids, Floats, Floats]:
        """One row a position: the chosen candidate's, or all mixed."""
        width = max(c.ids.shape[1] for c in found)
        ids = np.stack([np.pad(c.ids, ((0, 0), (0, width - c.ids.shape[1]))) for c in found])
        p = np.stack([np.pad(c.p, ((0, 0), (0, width - c.p.shape[1]))) for c in found])
        rest = np.stack([c.rest for c in found])
        if self.options.function == "min_ce":
            taken, rows = chosen[own], np.arange(len(own))
            return ids[taken, rows], p[taken, rows], rest[taken, rows]
        if self.options.function == "avg_ce":
            weights = mix_weights(rates, self.options.average)[:, own]
        else:
            weights = np.repeat(np.array(self.options.weights, np.float64)[:, None], len(own), 1)
        weights = weights * ((p.sum(2) + rest) > 0)  # among those that have a row there
        whole = weights.sum(0)
        weights = np.divide(weights, whole, out=np.zeros_like(weights), where=whole > 0)
        mixed = (p * weights[:, :, None]).transpose(1, 0, 2).reshape(len(own), -1)
        one, q = merged(ids.transpose(1, 0, 2).reshape(len(own), -1), mixed)
        return one, q, (rest * weights).sum(0)

    def _finished(self, ids: Ids, p: Floats, rest: Floats) -> tuple[Ids, Floats, Floats]:
        """Temperature, and what becomes of the tail."""
        if self.options.temperature != 1:
            whole = p.sum(1, keepdims=True)
            p = np.power(p, 1 / self.options.temperature)
            own = p.sum(1, keepdims=True)
            p = np.divide(p * whole, own, out=np.zeros_like(p), where=own > 0)
        if self.options.tail == "ignore":
            return ids.copy(), p, np.zeros_like(rest)
        named = p.sum(1)
        rest = rest if self.options.tail == "bucket" else np.zeros_like(rest)
        whole = named + rest
        scale = np.divide(1.0, whole, out=np.zeros_like(whole), where=named > 0)
        return ids.copy(), p * scale[:, None], rest * scale


class Texts:
    """The targets of plain training: the texts themselves, no row of any model."""

    def __init__(self, pivot: Tokenizer) -> None:
        self.pivot = pivot

    def target(self, document: Document) -> Target:
        spelled = document.spelled(self.pivot)
        at = np.flatnonzero(units(document, spelled.ends[1:], "sample") >= 0)
        nothing, none = np.zeros((len(at), 1)), np.zeros(len(at))
        ids = nothing.astype(np.int64)
        return Target(spelled.ids, at, spelled.ids[at + 1], ids, nothing, none, none, np.zeros(0, np.int64))
