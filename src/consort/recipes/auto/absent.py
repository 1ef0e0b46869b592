"""Why a kind of system that was tried is not on the front: what is as good for less."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from consort.plan.kinds import find
from consort.recipes.auto.front import nondominated
from consort.recipes.auto.stage import Proposal
from consort.runs.results import is_checkpoint

CHAINED = ("cascade", "frugal_gpt")


def absent(systems: Sequence[Proposal]) -> list[str]:
    """A sentence for each kind of which something was tried and nothing is on the front of `systems`."""
    front = nondominated(systems)
    notes = []
    for kind, is_one in KINDS.items():
        own = [one for one in systems if not isinstance(one.expression, str) and is_one(one.expression)]
        if own and not {one.key for one in own} & {one.key for one in front}:
            notes.append(f"no {kind} is on the front: {_why(own, front)}")
    return notes


def _why(own: Sequence[Proposal], front: Sequence[Proposal]) -> str:
    best = max(own, key=lambda one: (one.known.score, -(one.price or float("inf"))))
    told = f"the best, {best.name}, has {best.known.score:.3f}"
    rival = next((one for one in front if one.known.score >= best.known.score), None)
    if best.price is None or rival is None:
        return f"{told}, and what it costs is not known"
    return f"{told} at {best.price:.3g}, {rival.name} {rival.known.score:.3f} at {rival.price or 0.0:.3g}"


def _is_router(expression: Any) -> bool:
    [name] = expression
    return find(name)[0].kind == "router" or name in CHAINED


def _is_ensemble(expression: Any) -> bool:
    [name] = expression
    return find(name)[0].kind == "ensemble"


KINDS: dict[str, Callable[[Any], bool]] = {
    "merge": is_checkpoint,
    "router or cascade": _is_router,
    "token or byte ensemble": _is_ensemble,
    "system with retrieval": lambda expression: '"augmented"' in json.dumps(expression),
}
"""What a front may hold beside single models, by the expression of a system."""
