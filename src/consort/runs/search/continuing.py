"""What an earlier search in the same folder leaves to the next: a search may go on with more experts or another plan.

The journal has a line for each plan that was run (`asked`), and after it what was found. A run of the last plan goes on
where it was; a run of another one, with at least one input in common and the same task and utility, is told what is
known of points that mean the same models, and says what differs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consort.core.counted import counted
from consort.core.differing import named_differences, plain
from consort.core.errors import OutputExists
from consort.core.journal import Journal
from consort.runs.folder import clear
from consort.search.engine.scores import Outcome

_LOG = logging.getLogger("consort.search")


UNNAMED = {"inputs": None, "names": None}
"""What differs wherever the plan does, and need not be said as well."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """`records` are of this very search; `earlier` are outcomes of others by key of their points.

    `results` are evaluations by key; `saved` is the key of the plan in the model's folder, "" for none; `notes` say
    what differs from what was run before.
    """

    records: tuple[Mapping[str, Any], ...]
    earlier: Mapping[str, Outcome]
    results: dict[str, Any]
    saved: str
    notes: tuple[str, ...] = ()


def continued(journal: Journal, records: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> Continuation:
    """What the journal knows for the search that `asked` describes, which is its last from now on.

    Raises OutputExists where what was run before has no input in common with it.
    """
    now = plain(asked)
    results = {r["key"]: r for r in records if "result" in r}
    begun = [i for i, record in enumerate(records) if "asked" in record]
    last = records[begun[-1]]["asked"] if begun else None
    if last == now:
        own = records[begun[-1] :]
        saved = next((str(r["saved"]) for r in reversed(own) if "saved" in r), "")
        return Continuation(tuple(r for r in own if "job" in r), _outcomes(records[: begun[-1]]), results, saved)
    earlier = _outcomes(records)
    notes: tuple[str, ...] = ()
    if last is not None:
        notes = _differing(journal, last, now, len(earlier))
        clear(journal.folder)
    journal.append({"asked": now})
    return Continuation((), earlier, results, "", notes)


def _outcomes(records: Iterable[Mapping[str, Any]]) -> dict[str, Outcome]:
    """The complete outcomes among the records, by key of their points."""
    found: dict[str, Outcome] = {}
    for record in records:
        for name, value in zip(record.get("points", ()), record.get("outcomes", ()), strict=True):
            outcome = Outcome.from_json(value)
            if outcome.is_complete and not outcome.fault:
                found[name] = outcome
    return found


def _differing(journal: Journal, last: Mapping[str, Any], new: Mapping[str, Any], known: int) -> tuple[str, ...]:
    shared = {json.dumps(i, sort_keys=True) for i in last["inputs"]} & {
        json.dumps(i, sort_keys=True) for i in new["inputs"]
    }
    named = named_differences({**last, **UNNAMED}, {**new, **UNNAMED})
    if not shared:
        hint = "choose another folder or pass --force"
        raise OutputExists(f"holds another run, of other models: {named}", field=str(journal.folder), hint=hint)
    amount = counted(known, "evaluation")
    note = f"goes on with {amount} known from the run before, which differs in {named or 'its inputs'}"
    _LOG.warning("%s: %s", journal.folder, note)
    return (note,)


def is_record(record: Mapping[str, Any]) -> bool:
    """Whether a line is one of those that are written here."""
    if "saved" in record:
        return isinstance(record["saved"], str)
    asked = record.get("asked")
    return isinstance(asked, dict) and isinstance(asked.get("inputs"), list)
