"""What an unfinished run has found so far, read from its journal, in the form of results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from consort.core.counted import counted
from consort.core.errors import ConsortError
from consort.core.journal import peek
from consort.core.results import document
from consort.evaluate import Result
from consort.search.engine.scores import Outcome

MOST_POINTS = 50
"""Points of a search by coefficients that are listed, the best ones."""


def so_far(folder: Path) -> dict[str, Any]:
    """The singles, candidates and scores that a run's journal tells, as results.json would have them.

    Raises BadData for a folder without a journal.
    """
    about, records = peek(folder)
    found = _measured(records)
    points, unread = _points(records), _unread(records, found)
    left_out = [
        f"{counted(unread, 'line')} of the journal could not be read and {'is' if unread == 1 else 'are'} left out"
    ]
    content: dict[str, Any] = {
        "task": about.get("task"),
        "seed": about.get("seed") if isinstance(about.get("seed"), int) else 0,
        "notes": [*(n for n in about.get("notes", ()) if isinstance(n, str)), *(left_out if unread else ())],
        "singles": [r.to_json() for r, plan in found if isinstance(plan, str) and r.split in ("fit", "dev")],
        "singles_fit": {r.model: r.score for r, plan in found if isinstance(plan, str) and r.split in ("fit", "dev")},
        "candidates": [*_candidates(records, found), *points[:MOST_POINTS]],
        "test": [],
        "search": [{"name": str(c["name"]), "score": c["fit"]} for c in _in_order(records, found)],
        "details": {},
        "provenance": {},
    }
    return document(str(about.get("verb", "run")), {k: v for k, v in content.items() if v is not None})


def _unread(records: Sequence[Mapping[str, Any]], found: Sequence[Any]) -> int:
    """How many results and outcomes of the journal are none, by what was written in their place."""
    results = sum("result" in record for record in records)
    outcomes = sum(len(r["outcomes"]) for r in records if isinstance(r.get("outcomes"), list))
    return results - len(found) + outcomes - len(_outcomes(records))


def _measured(records: Sequence[Mapping[str, Any]]) -> list[tuple[Result, Any]]:
    """Every result in the journal under its own name, with the plan that it is of."""
    found: list[tuple[Result, Any]] = []
    for record in records:
        if "result" in record:
            try:
                result = Result.from_json(record["result"])
            except ConsortError:
                continue
            name = str(record.get("name", result.model))
            found.append((_named(result, name), record.get("plan", name)))
    return found


def _named(result: Result, name: str) -> Result:
    from dataclasses import replace

    return replace(result, model=name)


def _candidates(records: Sequence[Mapping[str, Any]], found: Sequence[tuple[Result, Any]]) -> list[dict[str, Any]]:
    """Combinations that were scored on fit, or could not be."""
    tried = [_line(r.model, plan, r.score, "") for r, plan in found if _is_candidate(r, plan)]
    faults = [r for r in records if isinstance(r.get("fault"), str)]
    return tried + [_line(str(r.get("name", "?")), r.get("plan", ""), None, str(r["fault"])) for r in faults]


def _is_candidate(result: Result, plan: Any) -> bool:
    return result.split == "fit" and isinstance(plan, Mapping)


def _line(name: str, plan: Any, fit: float | None, note: str) -> dict[str, Any]:
    method = str(next(iter(plan), "")) if isinstance(plan, Mapping) else ""
    status = "failed" if fit is None else "rejected"
    return {"name": name, "method": method, "plan": plan, "fit": fit, "status": status, "note": note}


def _points(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The points of a search by coefficients that are known completely, the best first."""
    names, found = _names(records), []
    for number, (place, outcome) in enumerate(_outcomes(records), 1):
        if outcome.is_complete and not outcome.fault:
            plan = dict(zip(names, place, strict=False)) if place else {}
            found.append(_line(f"point {number}", plan, outcome.score, "") | {"method": "point"})
    return sorted(found, key=lambda one: -one["fit"])


def _outcomes(records: Sequence[Mapping[str, Any]]) -> list[tuple[Sequence[float], Outcome]]:
    found: list[tuple[Sequence[float], Outcome]] = []
    for record in records:
        values = record.get("outcomes")
        if not isinstance(values, list):
            continue
        places = record.get("at", [()] * len(values))
        for place, value in zip(places, values, strict=False):
            try:
                found.append((place, Outcome.from_json(value)))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
    return found


def _names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    asked = [record["asked"] for record in records if isinstance(record.get("asked"), Mapping)]
    names = asked[-1].get("names", []) if asked else []
    return [str(name) for name in names]


def _in_order(records: Sequence[Mapping[str, Any]], found: Sequence[tuple[Result, Any]]) -> list[dict[str, Any]]:
    """What was scored, in the order in which it was."""
    points = [
        _line(f"point {n}", "", o.score if o.is_complete and not o.fault else None, "")
        for n, (_, o) in enumerate(_outcomes(records), 1)
    ]
    return [_line(r.model, plan, r.score, "") for r, plan in found if _is_candidate(r, plan)] + points
