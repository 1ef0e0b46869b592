"""The loop between an optimizer and what it is told: budget, cache, journal, resume, history.

The journal is the whole state. A run that was killed asks its optimizer again from the start, with the same seed, and
is told what the journal says of the same jobs; so it goes on bit for bit as if nothing had happened, and a line that is
missing is a job that is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch

from consort.core.counted import counted
from consort.core.errors import BadParameter
from consort.core.journal import Journal, key_of
from consort.search.engine.domain import Optimizer
from consort.search.engine.evaluator import Job, Limits
from consort.search.engine.racing import hardest_first
from consort.search.engine.scores import Outcome, Scores
from consort.search.engine.workers import Workers

Point = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One score that an optimizer was told. `who` numbers the particle; `is_new` says it was evaluated for this."""

    generation: int
    who: int
    point: Point
    outcome: Outcome
    is_new: bool


@dataclass(slots=True)
class History:
    """What happened: every score told, how many evaluations there were and how many examples they asked.

    `highest` is the highest complete score that was evaluated.
    """

    steps: list[Step] = field(default_factory=list)
    evaluations: int = 0
    examples: int = 0
    ended: str = ""
    highest: float = -inf

    @property
    def best(self) -> Step | None:
        """The first of the highest scores known completely."""
        known = [s for s in self.steps if s.outcome.is_complete and not s.outcome.fault]
        return max(known, key=lambda s: s.outcome.score) if known else None

    @property
    def best_so_far(self) -> list[float]:
        """The best score after each generation."""
        found: list[float] = []
        for step in self.steps:
            score = step.outcome.score if step.outcome.is_complete else -inf
            while len(found) <= step.generation:
                found.append(found[-1] if found else -inf)
            found[-1] = max(found[-1], score)
        return found


class Run:
    """One search. `records` are those of `journal` so far; `size` is how many examples an evaluation may ask.

    `budget` bounds the number of evaluations (points scored, not told from the cache), those of the journal included;
    what is there already is kept, however many. `earlier` are complete outcomes, by the points' keys, that other runs
    found: they count as evaluations and cost none. With `racing`, and an optimizer that names `limits`, evaluations
    stop early where that changes nothing. `told` is called with the history after each job.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        workers: Workers,
        scores: Scores,
        *,
        pack: int = 1,
        size: int = 1,
        budget: int | None = None,
        racing: bool = False,
        journal: Journal | None = None,
        records: Sequence[Mapping[str, Any]] = (),
        earlier: Mapping[str, Outcome] | None = None,
        told: Callable[[History], None] = lambda history: None,
    ) -> None:
        if budget is not None and budget < 1:
            raise BadParameter(f"{budget} evaluations find nothing", field="--budget", hint="give 1 or more")
        self.optimizer, self.workers, self.scores = optimizer, workers, scores
        self.pack, self.journal, self.told = pack, journal, told
        self.budget = None if budget is None else max(budget, evaluations_in(records))
        self.racing = racing and hasattr(optimizer, "limits")
        self.history = History()
        self._written = {r["job"]: [Outcome.from_json(value) for value in r["outcomes"]] for r in records}
        self._earlier = dict(earlier or {})
        self._failed, self._asked = [0] * size, [0] * size

    def run(self) -> History:
        """Search to the end and return what happened."""
        for generation in range(10**9):
            points = [tuple(row) for row in self.optimizer.ask().tolist()]
            if not points:
                self.history.ended = self.history.ended or "the optimizer has finished"
                break
            told = self._outcomes(generation, points)
            if self.budget is not None and len(told) < len(points):
                self.history.ended = f"the budget of {counted(self.budget, 'evaluation')} was spent"
                break
            self.optimizer.tell(torch.tensor([outcome.score for outcome in told], dtype=torch.float64))
        return self.history

    def _outcomes(self, generation: int, points: list[Point]) -> list[Outcome]:
        """The outcomes of all points, or of as many first ones as the budget allows."""
        keys = [self.scores.key(point) for point in points]
        limits = self._limits(len(points))
        new = self._new(keys, limits)
        if self.budget is not None:
            room = self.budget - self.history.evaluations
            if len(new) > room:
                kept = set(new[:room])
                last = next(i for i in new if i not in kept)
                points, keys, limits, new = points[:last], keys[:last], limits[:last], new[:room]
        self._evaluate([(keys[i], points[i], _narrowest(keys[i], keys, limits)) for i in new])
        who = getattr(self.optimizer, "who", None) or range(len(points))
        found = [self.scores.get(key, limit) for key, limit in zip(keys, limits, strict=True)]
        told = [outcome for outcome in found if outcome is not None]
        for i, outcome in enumerate(told):
            self.history.steps.append(Step(generation, who[i], points[i], outcome, i in new))
        return told

    def _limits(self, count: int) -> list[Limits | None]:
        if not self.racing:
            return [None] * count
        return [(float(low), float(high)) for low, high in self.optimizer.limits().tolist()]  # type: ignore[attr-defined]

    def _new(self, keys: Sequence[str], limits: Sequence[Limits | None]) -> list[int]:
        """The first of each of the points that not enough is known of."""
        unknown = (
            i for i, (key, limit) in enumerate(zip(keys, limits, strict=True)) if not self.scores.get(key, limit)
        )
        first: dict[str, int] = {}
        for i in unknown:
            first.setdefault(keys[i], i)
        return sorted(first.values())

    def _evaluate(self, new: Sequence[tuple[str, Point, Limits | None]]) -> None:
        """Evaluate in jobs of `pack`, each journalled as it ends."""
        if not new:
            return
        order: tuple[int, ...] = ()
        if any(limit and limit[0] <= limit[1] for _, _, limit in new):
            order = tuple(hardest_first(self._failed, self._asked))
        jobs, names = [], []
        for at in range(0, len(new), self.pack):
            part = new[at : at + self.pack]
            limits = tuple(limit for _, _, limit in part if limit is not None)
            jobs.append(Job(tuple(p for _, p, _ in part), limits if len(limits) == len(part) else None, order))
            names.append([key for key, _, _ in part])
        for keys, outcomes in zip(names, self._done(jobs, names), strict=True):
            for key, outcome in zip(keys, outcomes, strict=True):
                self.scores.put(key, outcome)
                self._count(outcome)
            self.told(self.history)

    def _done(self, jobs: Sequence[Job], names: Sequence[list[str]]) -> Iterator[list[Outcome]]:
        """Outcomes of jobs: what the journal or an earlier run has of them, else what the workers find; journalled."""
        keys = [job_key(job, own) for job, own in zip(jobs, names, strict=True)]
        known = [self._written.get(key) or self._of_earlier(own) for key, own in zip(keys, names, strict=True)]
        found = iter(self.workers.map([job for job, own in zip(jobs, known, strict=True) if own is None]))
        for job, key, own, outcomes in zip(jobs, keys, names, known, strict=True):
            told = next(found) if outcomes is None else outcomes
            if self.journal is not None and key not in self._written:
                at = [[float(x) for x in place] for place in job.points]  # for people: a run does not read it
                scored = [outcome.to_json() for outcome in told]
                self.journal.append({"job": key, "points": own, "outcomes": scored, "at": at})
            yield told

    def _of_earlier(self, names: Sequence[str]) -> list[Outcome] | None:
        """What other runs found of a job's points, if it is all of them."""
        known = [self._earlier[name] for name in names if name in self._earlier]
        return known if len(known) == len(names) else None

    def _count(self, outcome: Outcome) -> None:
        self.history.evaluations += 1
        self.history.examples += outcome.seen
        if outcome.is_complete:
            self.history.highest = max(self.history.highest, outcome.score)
        for i, mark in enumerate(outcome.marks[: len(self._asked)]):
            self._asked[i] += mark != "."
            self._failed[i] += mark == "0"


def _narrowest(key: str, keys: Sequence[str], limits: Sequence[Limits | None]) -> Limits | None:
    """The interval that satisfies every occurrence of `key`."""
    own = [limit for other, limit in zip(keys, limits, strict=True) if other == key]
    known = [limit for limit in own if limit is not None]
    return (max(low for low, _ in known), min(high for _, high in known)) if len(known) == len(own) else None


def job_key(job: Job, names: Sequence[str]) -> str:
    """All that a job's outcomes depend on beside basis and objective, which are in the names of its points."""
    return key_of([list(names), job.limits, job.order])


def evaluations_in(records: Sequence[Mapping[str, Any]]) -> int:
    """How many evaluations the lines of a journal tell of."""
    return sum(len(record["points"]) for record in records)


def is_record(record: Mapping[str, Any]) -> bool:
    """Whether a line of the journal is one that a run wrote."""
    points, outcomes = record.get("points"), record.get("outcomes")
    if not isinstance(record.get("job"), str) or not isinstance(points, list) or not isinstance(outcomes, list):
        return False
    try:
        return len([Outcome.from_json(value) for value in outcomes]) == len(points)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
