"""A run and what follows from it: the systems compared, who is called the winner, against whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from consort.core.errors import ConsortError
from consort.evaluate.comparison import Comparison, Difference, System, compare
from consort.evaluate.result import Result
from consort.evaluate.table import comparison_table, shown_interval, shown_score
from consort.report.schema import ExampleInfo, Run


class Report:
    """What views work with. `run` is the checked results.json; the rest follows from its numbers."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def subject(self) -> str:
        """What the winner is called: the single model, or the candidate that was kept; "" for a run without one."""
        run = self.run
        if run.winner is None:
            return ""
        singles = {r.model: r.score for r in run.singles}
        if run.winner.name in singles:
            return run.winner.name
        if run.winner.kind == "single" and (run.decision or singles):
            return run.decision.fallback if run.decision else max(singles, key=singles.__getitem__)
        return next((c.name for c in run.candidates if c.status == "kept"), run.winner.name)

    @cached_property
    def singles(self) -> list[str]:
        """The names of the single models; where a run tells none, of all systems but the winner."""
        if self.run.singles:
            return [r.model for r in self.run.singles]
        return [r.model for r in self.run.test if self.run.winner is None or r.model != self.run.winner.name]

    @cached_property
    def results(self) -> list[Result]:
        """What was measured on test, or on held-out data where there is no test; the winner once, as its subject."""
        run, name = self.run, self.subject
        results = list(run.test or run.singles)
        own = "" if run.winner is None else run.winner.name
        if name in {r.model for r in results}:
            return [r for r in results if r.model in (name, *self.singles) or r.model != own]
        return [replace(r, model=name) if r.model == own else r for r in results]

    @cached_property
    def comparison(self) -> Comparison | None:
        """All systems side by side; None where nothing was measured, or not alike."""
        if not self.results:
            return None
        run = self.run
        against = run.winner.against if run.winner else None
        reference = self.subject if run.is_single and self.subject in {r.model for r in self.results} else against
        try:
            return compare(self.results, singles=self.singles, reference=reference, seed=run.seed)
        except ConsortError:
            return None

    @cached_property
    def ranked(self) -> list[System]:
        """The compared systems, the best first."""
        return [] if self.comparison is None else sorted(self.comparison.systems, key=lambda s: -s.score)

    @cached_property
    def winner(self) -> System | None:
        """The winner's line of the comparison, None where it was not measured there."""
        return next((s for s in self.ranked if s.result.model == self.subject), None)

    @cached_property
    def reference(self) -> System | None:
        """The system that the others are compared with: the best single model."""
        return next((s for s in self.ranked if s.difference is None), None)

    @property
    def difference(self) -> Difference | None:
        """The winner against the best single model, None where it is that model."""
        return None if self.winner is None or self.run.is_single else self.winner.difference

    @cached_property
    def metric(self) -> str:
        """What scores are called; perplexity and bits per byte are shown as themselves."""
        if self.comparison is None:
            return self.run.task.metric if self.run.task else "score"
        return comparison_table(self.comparison)[0][1]

    @property
    def smaller_is_better(self) -> bool:
        return self.metric in ("perplexity", "bits/byte")

    @property
    def split(self) -> str:
        """Where the compared systems were measured, in words."""
        split = self.comparison.split if self.comparison else ""
        return "held-out data" if split == "held_out" else split

    @cached_property
    def examples(self) -> list[ExampleInfo]:
        """What the compared systems were asked, in the order of their answers; empty where that was not kept."""
        return self.run.examples.get(self.comparison.split, []) if self.comparison else []

    def cells(self, system: System) -> tuple[str, ...]:
        """A system's line of the table of scores."""
        assert self.comparison is not None
        return comparison_table(replace(self.comparison, systems=(system,)))[1][0]

    def score(self, system: System) -> float:
        """A score as people know it."""
        assert self.comparison is not None
        return shown_score(self.comparison, system.score)

    def interval(self, system: System) -> tuple[float, float]:
        assert self.comparison is not None
        return shown_interval(self.comparison, system.interval)

    def kind(self, system: System) -> str:
        """winner, reference or single: how charts and tables mark a system."""
        if system.result.model == self.subject:
            return "winner"
        return "reference" if system is self.reference else "single"

    def group_score(self, value: float) -> float:
        """Groups hold the task's own score; in bits per byte they stay in nats a token."""
        compared = self.comparison
        return value if compared is None or compared.unit == "bits_per_byte" else shown_score(compared, value)


def named(reports: Sequence[Report], names: Sequence[str]) -> list[tuple[str, Report]]:
    """Each report with a name that no other has."""
    told = [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, 1)]
    return list(zip(told, reports, strict=True))
