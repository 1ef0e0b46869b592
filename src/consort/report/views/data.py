"""How the examples were used: which decided what."""

from __future__ import annotations

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import card, joined, paragraph, tag
from consort.report.schema import TaskInfo
from consort.report.views.registry import view

INTERVALS = (
    "Intervals are 95 % intervals over examples, by 10,000 resamples or exact at the edges; differences are paired."
)


@view(title="How the data was used", on="run", order=80)
def data(report: Report, found: None) -> Markup | None:
    """The parts of the task, their sizes, and what each was for."""
    task = report.run.task
    if task is None:
        return None
    return card(_bar(task), *map(paragraph, _told(report, task)))


def _told(report: Report, task: TaskInfo) -> list[str]:
    run, test = report.run, "There is no test split."
    if task.test:
        test = f"Test ({task.test} examples) was read once, at the end." if run.test else "Test was not read."
    if run.progress is not None:
        return ["The run has not ended, so test has not been read."]
    if task.held_out:
        told = f"Fit ({task.fit} examples of dev) chose methods and coefficients. Held out ({task.held_out} examples of"
        return [f"{told} dev) decided once between the best candidate and the best single model. {test}", INTERVALS]
    if task.fit:
        told = (
            f"The search saw {task.fit} examples of dev, so scores there flatter its winner and every system it tried."
        )
        return [f"{told} {test}", INTERVALS]
    return [test, INTERVALS]


def _bar(task: TaskInfo) -> Markup:
    parts = [(n, c) for n, c in (("fit", task.fit), ("held out", task.held_out), ("test", task.test)) if c]
    if not parts:
        return Markup("")
    spans = [
        tag("span", joined([tag("b", name), f" {count}"]), class_=f"part-{i}", style=f"flex: {count}")
        for i, (name, count) in enumerate(parts, 1)
    ]
    label = ", ".join(f"{count} {name}" for name, count in parts) + " examples"
    return tag("div", joined(spans), class_="parts", role="img", aria_label=label)
