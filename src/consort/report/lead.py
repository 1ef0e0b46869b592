"""The top of a page: the outcome in one sentence, then who reached what, against whom."""

from __future__ import annotations

from markupsafe import Markup

from consort.evaluate.comparison import System
from consort.report.model import Report
from consort.report.parts import joined, tag
from consort.report.sentences import Difference, Facts, headline, unfinished


def facts_of(report: Report) -> Facts:
    """What the outcome's sentence follows from."""
    run = report.run
    reference = report.reference.result.model if report.reference is not None else ""
    is_single = reference in {r.model for r in run.singles}
    by_worth = run.objective.on_test
    return Facts(
        kept=not run.is_single,
        reference=run.objective.words if is_single or not reference else reference,
        tested=(by_worth.difference if by_worth else report.difference) if run.test else None,
        held_out=_held_out(report),
        tried=len(run.candidates),
        searched=bool(run.task and not run.task.held_out),
    )


def _held_out(report: Report) -> Difference | None:
    run = report.run
    if run.decision is not None:
        return run.decision.difference
    return None if run.test else report.difference


def headline_of(report: Report) -> str:
    """The outcome in one sentence, no stronger than the numbers shown."""
    run = report.run
    if run.progress is not None:
        name, score, split = best_so_far(report)
        return unfinished(run.progress.state, name, score, split)
    if run.winner is None:
        return f"What consort {run.verb} made"
    return headline(facts_of(report))


def best_so_far(report: Report) -> tuple[str, float | None, str]:
    """Name, score and split of the best that an unfinished run has measured; a score of None where there is none."""
    run = report.run
    scores = dict(run.singles_fit) | {c.name: c.fit for c in run.candidates if c.fit is not None}
    scores = scores or {r.model: r.score for r in run.test or run.singles}
    if not scores:
        return "", None, ""
    best = max(scores, key=lambda name: scores[name])
    split = "the fit examples" if run.singles_fit or run.candidates else (run.test or run.singles)[0].split
    return best, scores[best], split


def lead(report: Report) -> Markup:
    """Who reached what, against whom, on how many examples."""
    run = report.run
    if run.progress is not None:
        return _progress(report)
    if report.comparison is None or report.winner is None:
        return Markup("")
    count, split = report.comparison.count, report.split
    told = [_name(report.winner), f" reaches {report.metric} ", _value(report, report.winner)]
    told.append(f" on {count} examples of {split}")
    if report.difference is None or report.reference is None:
        return joined([*told, "."])
    return joined(
        [*told, "; ", tag("b", report.reference.result.model), " reaches ", _value(report, report.reference), "."]
    )


def _progress(report: Report) -> Markup:
    progress = report.run.progress
    assert progress is not None
    of = "" if progress.total is None else f" of {progress.total:g}"
    told = f"{progress.phase or 'The run'}: {progress.done:g}{of} done"
    left = "" if progress.left_s is None else f", about {progress.left_s:.0f} s left"
    singles = report.run.singles_fit
    best = max(singles, key=lambda name: singles[name]) if singles else None
    single = f" The best single model is {best}, {singles[best]:.3f}." if best is not None else ""
    again = " The same command goes on where it was." if progress.state == "killed" else ""
    return joined([told, left, ".", single, again])


def _name(system: System) -> Markup:
    return tag("b", system.result.model, class_="win")


def _value(report: Report, system: System) -> Markup:
    return tag("b", f"{report.score(system):.3f}")
