"""A run that goes on with more: a larger budget, one model more. What is known stays, what differs is named.

What must be equal is in the run's key (its verb, task and seed): other examples are another run. All else may differ,
as long as some input is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from consort.core.counted import counted
from consort.core.differing import named_differences, plain
from consort.core.errors import OutputExists
from consort.core.journal import Journal
from consort.core.results import RESULTS_FILE
from consort.runs.folder import clear

_LOG = logging.getLogger("consort.runs")
NOTES = "notes"
"""Where the first line of a journal keeps what was said when the run went on."""


def go_on(journal: Journal, asked: Mapping[str, Any], known: int) -> tuple[str, ...]:
    """Let the run of `journal`, which knows `known` results, go on as what is `asked`; returns what there is to say.

    `asked["inputs"]` has the inputs' identities by their names. Raises OutputExists, naming what differs, where none of
    them is an input of the run before.
    """
    before = {name: value for name, value in journal.about.items() if name != NOTES}
    now = plain(asked)
    if before == now:
        return tuple(journal.about.get(NOTES, ()))
    found = named_differences(_for_people(before, now), _for_people(now, before))
    if not known and not (journal.folder / RESULTS_FILE).exists():
        journal.describe(now)
        return ()
    shared = set(before.get("inputs", {}).values()) & set(now["inputs"].values())
    if not shared and not journal.force:
        hint = "choose another folder or pass --force"
        raise OutputExists(f"holds another run, of other models: {found}", field=str(journal.folder), hint=hint)
    what = f" with {counted(known, 'result')} known" if known else ""
    note = f"goes on{what} from the run before, which differs in {found}"
    _LOG.warning("%s: %s", journal.folder, note)
    clear(journal.folder)
    journal.describe({**now, NOTES: [note]})
    return (note,)


def _for_people(about: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by their names; of one that has changed, that it has."""
    own, others = about.get("inputs", {}), other.get("inputs", {})
    changed = {f"content of {n}": str(key)[:8] for n, key in own.items() if others.get(n, key) != key}
    rest = {name: value for name, value in about.items() if name not in ("inputs", "task")}
    return {**rest, "models": ", ".join(own), **changed}


def kept_budget(journal: Journal, budget: int) -> int:
    """The budget asked for, or that of the run before where it was larger: what was tried is kept, and told."""
    before = journal.about.get("budget")
    if not isinstance(before, int) or before <= budget:
        return budget
    _LOG.warning("%s: has tried with a budget of %d already, which is kept", journal.folder, before)
    return before
