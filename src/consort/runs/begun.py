"""The beginning of a run over several models: its folder opened or continued, and trials ready to be made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consort.core.progress import watched
from consort.data import Task
from consort.plan.build import Builder
from consort.runs.continued import go_on, kept_budget
from consort.runs.folder import open_run
from consort.runs.hours import Hours
from consort.runs.pool import Member, identity_of
from consort.runs.results import told_task
from consort.runs.trials import SPENT, Trials, is_record
from consort.weights import describe


@contextmanager
def begin(
    verb: str,
    out: Path,
    members: Sequence[Member],
    task: Task,
    builder: Builder,
    *,
    base: str | None,
    budget: int,
    seed: int,
    force: bool,
    hours: float | None = None,
    **options: Any,
) -> Iterator[tuple[Trials, tuple[str, ...]]]:
    """Within the block the run is open: its trials, and what there is to say where it goes on with more.

    A run of the same verb, task and seed goes on with what it knows, whatever its budget, base and models were; so does
    one with other `options`. `hours` bounds the time of all its starts together. Raises OutputExists for a folder of
    another run.
    """
    identity = {m.reference: identity_of(m) for m in members}
    fit, held_out = task.fit_and_held_out(seed)
    about: dict[str, Any] = {
        "verb": verb,
        "task": told_task(task, fit=len(fit), held_out=len(held_out)),
        "seed": seed,
        "budget": budget,
        "base": base,
        **options,
        **({} if hours is None else {"hours": hours}),
        "inputs": {m.label: identity[m.reference] for m in members},
    }
    weights = [m.checkpoint for m in members if m.checkpoint]
    place = {"verb": verb, "task": task.key, "seed": seed}
    journal, records = open_run(out, place, weights, force=force, sound=is_record, about=about)
    budget = kept_budget(journal, budget)
    notes = go_on(journal, {**about, "budget": budget}, sum("result" in record for record in records))
    time = Hours(hours, max((float(record.get(SPENT, 0.0)) for record in records), default=0.0))
    with watched(out, verb) as watch:
        opened = Trials(
            task, builder, journal, records, budget=budget, seed=seed, watch=watch, identity=identity, hours=time
        )
        yield opened, notes


def described(trials: Trials, members: Sequence[Member]) -> list[dict[str, Any]]:
    """What identifies each input, with the hash of its weights' content."""
    found = []
    for member in members:
        if member.checkpoint is None:
            found.append({"name": member.label})
        else:
            weights = {"weights_sha256": trials.content(member.reference, member.checkpoint)}
            found.append({**describe(member.checkpoint), **weights})
    return found
