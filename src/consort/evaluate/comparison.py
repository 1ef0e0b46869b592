"""Systems side by side on the same examples: paired differences, and the gate that never returns worse."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from consort.core.errors import BadData, BadParameter, Incompatible, UnknownName, did_you_mean
from consort.evaluate.bootstrap import are_known, difference_interval, interval_of, replicates_of
from consort.evaluate.registry import ratio
from consort.evaluate.result import Result, aggregate_of

Unit = Literal["score", "bits_per_byte"]


@dataclass(frozen=True, slots=True)
class Difference:
    """System minus reference; `share_not_better` is the share of paired resamples in which it is not above zero."""

    value: float
    interval: tuple[float, float]
    share_not_better: float


@dataclass(frozen=True, slots=True)
class System:
    """One line of a comparison; `score` is in the comparison's unit. The reference has no difference."""

    result: Result
    score: float
    interval: tuple[float, float]
    difference: Difference | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Systems in the order given. In "bits_per_byte" a score is minus bits per byte, so larger is better there too."""

    task: str
    split: str
    metric: str
    unit: Unit
    reference: str
    count: int
    systems: tuple[System, ...]

    def __repr__(self) -> str:
        told = ", ".join(f"{s.result.model} {s.score:.4g}" for s in self.systems)
        return f"<consort comparison on {self.task} {self.split}, {self.metric}: {told}>"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a system's per-example statistics and answers are left to its own Result."""
        lines = [_line(s) for s in self.systems]
        head = {name: getattr(self, name) for name in ("task", "split", "metric", "unit", "reference", "count")}
        return head | {"systems": lines}


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the candidate is kept; `winner` is its name then, else the fallback's. Scores are in `unit`."""

    candidate: str
    fallback: str
    kept: bool
    candidate_score: float
    fallback_score: float
    difference: Difference
    unit: Unit
    split: str
    count: int

    @property
    def winner(self) -> str:
        """The name of the one that is taken."""
        return self.candidate if self.kept else self.fallback

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"winner": self.winner}


def compare(
    results: Sequence[Result],
    *,
    reference: str | None = None,
    singles: Collection[str] | None = None,
    unit: Unit | None = None,
    seed: int = 0,
) -> Comparison:
    """Every system against `reference`, else against the best of `singles` (names of single models).

    Without either, singles are the results whose work one inner model did, or all if there is none. Perplexities are
    compared per token within one vocabulary and in bits per byte across vocabularies; `unit` "score" across
    vocabularies raises Incompatible, as do texts with unknown tokens and results of different tasks, splits or
    examples.

    >>> import consort
    >>> from consort import lab
    >>> task = consort.load_task(lab.path("tasks/skills"))
    >>> results = [consort.evaluate(consort.model(f"lab:{name}"), task, limit=20) for name in ("base", "mirror")]
    >>> found = consort.compare(results)
    >>> found.reference, len(found.systems)
    ('lab:mirror', 2)
    """
    unit = _unit(results, unit)
    tables = [_table(r, unit) for r in results]
    best = _reference(results, tables, reference, singles)
    span = aggregate_of(results[best].metric).span
    drawn = replicates_of(tables, seed=seed)
    systems = []
    for i, (result, table) in enumerate(zip(results, tables, strict=True)):
        difference = None if i == best else _difference(table, tables[best], drawn[i] - drawn[best], span, seed)
        bounds = result.interval if unit == "score" else interval_of(*table, seed=seed)
        systems.append(System(result, _score(table), bounds, difference))
    first = results[0]
    return Comparison(first.task, first.split, first.metric, unit, results[best].model, first.count, tuple(systems))


def gate(candidate: Result, fallback: Result, *, seed: int = 0) -> Decision:
    """Keep the candidate only if its score is at least the fallback's on the same examples, those known of both."""
    unit = _unit([candidate, fallback], None)
    ours, theirs = _known_of_both(_table(candidate, unit), _table(fallback, unit))
    span = aggregate_of(fallback.metric).span
    drawn = replicates_of([ours, theirs], seed=seed)
    difference = _difference(ours, theirs, drawn[0] - drawn[1], span, seed)
    scores = _score(ours), _score(theirs)
    names = candidate.model, fallback.model
    return Decision(*names, scores[0] >= scores[1], *scores, difference, unit, candidate.split, len(ours[0]))


Table = tuple[np.ndarray, Any]
Span = tuple[float, float]


def _table(result: Result, unit: Unit) -> Table:
    """Statistics and the function of their sums that gives the score in `unit`."""
    rows = np.array(result.statistics)
    if unit == "score":
        return rows, aggregate_of(result.metric).aggregate
    return np.stack([rows[:, 0], rows[:, 2] * math.log(2)], axis=1), ratio


def _score(table: Table) -> float:
    return float(table[1](table[0].sum(0)))


def _known_of_both(ours: Table, theirs: Table) -> tuple[Table, Table]:
    """Both without the examples of which a system has no known answer. Raises Incompatible if none is left."""
    both = are_known(ours[0]) & are_known(theirs[0])
    if both.all():
        return ours, theirs
    if not both.any():
        hint = "give rows of the table in which the answers of both are known"
        raise Incompatible("there is no example of which both answers are known", field="compare", hint=hint)
    return (ours[0][both], ours[1]), (theirs[0][both], theirs[1])


def _difference(table: Table, reference: Table, drawn: np.ndarray, span: Span | None, seed: int) -> Difference:
    """`drawn`: replicates of the difference on all examples; anew where some are not known of both."""
    ours, theirs = _known_of_both(table, reference)
    if ours is not table:
        both = replicates_of([ours, theirs], seed=seed)
        drawn = both[0] - both[1]
    table, reference = ours, theirs
    bounds = difference_interval(table[0], reference[0], table[1], drawn, span)
    return Difference(_score(table) - _score(reference), bounds, float((drawn <= 0).mean()))


def _unit(results: Sequence[Result], wanted: Unit | None) -> Unit:
    if not results:
        raise BadData("no results to compare", hint="give one or more")
    if isinstance(results, Mapping) or not all(isinstance(result, Result) for result in results):
        hint = "a list of what consort.evaluate(model, task) returns"
        raise BadParameter("not a list of results", field="results", hint=hint)
    first = results[0]
    for other in results[1:]:
        for name in ("metric", "split", "examples_key"):
            if getattr(other, name) != getattr(first, name):
                what = f"{first.model} and {other.model} were not measured on the same {name.removesuffix('_key')}"
                raise Incompatible(what, field=other.model, hint="evaluate both on the same task, split and limit")
    is_token_score = aggregate_of(first.metric).asks == "logprobs"
    crosses = is_token_score and len({r.vocabulary for r in results}) > 1
    if wanted == "score" and crosses:
        what = "perplexities of different tokenizers cannot be compared"
        raise Incompatible(what, field="perplexity", hint="compare bits_per_byte")
    if wanted == "bits_per_byte" and not is_token_score:
        raise Incompatible(f"{first.metric} has no bits per byte", field="unit", hint="compare score")
    if crosses:
        _check_written(results)
    return wanted or ("bits_per_byte" if crosses else "score")


def _check_written(results: Sequence[Result]) -> None:
    """Raise Incompatible where a tokenizer left out parts of the text: those bytes would count, but cost no bits."""
    for result in results:
        if unknown := int(result.figures.get("unknown_tokens", 0)):
            what = f"its tokenizer cannot write the text: unknown tokens: {unknown}"
            hint = "compare it with models of its own tokenizer, or on texts that it can write"
            raise Incompatible(what, field=result.model, hint=hint)


def _reference(
    results: Sequence[Result], tables: Sequence[Table], name: str | None, singles: Collection[str] | None
) -> int:
    names = [r.model for r in results]
    if len(set(names)) < len(names):
        raise BadData("two systems have one name", field=max(names, key=names.count), hint="give them different names")
    if name is not None:
        if name not in names:
            raise UnknownName(f"no system named {name!r}", field="reference", hint=did_you_mean(name, names))
        return names.index(name)
    among = [i for i, r in enumerate(results) if (r.is_single if singles is None else r.model in singles)]
    return max(among or range(len(results)), key=lambda i: _score(tables[i]))


def _line(system: System) -> dict[str, Any]:
    result = system.result.to_json()
    kept = {name: result[name] for name in ("model", "groups", "figures", "usage", "cost", "seconds")}
    difference = None if system.difference is None else asdict(system.difference)
    return {"score": system.score, "interval": system.interval, "difference": difference} | kept
