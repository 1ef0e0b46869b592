"""Knowledge fusion on the rows that the run was given (`--train`): the best model learns from other families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.journal import key_of
from consort.recipes.auto.given import read_rows
from consort.recipes.auto.stage import Pool, Proposal
from consort.recipes.auto.stages.trained import FOLDER, LARGEST
from consort.runs.trials import BudgetSpent

STEPS, BATCH, TEXT_SHARE = 120, 24, 0.3
TINY, TINY_RATE, RATE = 10_000_000, 1e-3, 1e-5
"""Weights up to which a model is tiny, and the rates at which those and others learn."""
WINDOWS = ("max_position_embeddings", "n_positions")


class Fused:
    """`consort fuse` with the best model as pivot; sources are the best of each other family that reads the rows."""

    name = "knowledge fusion"
    tries = "the best model taught by those of other families on the rows given"
    passes = 60.0

    def needs(self, pool: Pool) -> int:
        return int(bool(pool.given.train) and len(pool.families) > 1)

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        why = _why_not(pool)
        if why:
            return [], [f"not tried: {self.name}: {why}"]
        pivot, *others = sorted(pool.best_of_family.values(), key=lambda one: -one.known.score)
        try:
            sources, notes = _readers(pool, pivot, others)
            if not sources:
                return [], [*notes, f"not tried: {self.name}: no other family reads the rows that {pivot.name} reads"]
            folder = _fused(pool, pivot, sources)
            name = f"{pivot.name} taught by {' + '.join(one.name for one in sources)}"
            tried = pool.tried(Proposal(name, {"linear": {"models": [str(folder)]}}, None, None))
        except EnvironmentFailure:
            raise
        except ConsortError as fault:
            return [], [f"not tried: {self.name}: {fault}"]
        except BudgetSpent as spent:
            return [], [f"not tried: {spent}: {self.name}"]
        return [tried] if tried else [], notes


def _why_not(pool: Pool) -> str:
    if not pool.given.train:
        return "no rows to train on were given (--train)"
    if len(pool.families) < 2:
        return "all models are of one family, and merging them needs no training"
    largest = max(m.parameters or 0 for family in pool.families for m in family.members)
    if largest > LARGEST:
        return f"{largest / 1e9:.2g} billion weights; here those of {LARGEST / 1e9:.2g} at most are trained"
    return ""


def _readers(pool: Pool, pivot: Proposal, others: list[Proposal]) -> tuple[list[Proposal], list[str]]:
    """Those of `others` that can teach the pivot on the rows, and why the rest cannot."""
    from consort.recipes.fusechat.run import opened

    found, notes = [], []
    known = pivot.known.scores
    for one in others:
        if not any(own > theirs for own, theirs in zip(one.known.scores, known, strict=True)):
            notes.append(f"knowledge fusion without {one.name}: it is nowhere better than {pivot.name}")
            continue
        try:
            opened(_plan(pool, pivot, [one]), pool.trials.journal.folder / FOLDER)
            found.append(one)
        except EnvironmentFailure:
            raise
        except ConsortError as fault:
            notes.append(f"knowledge fusion without {one.name}: {fault}")
    return found, notes


def _fused(pool: Pool, pivot: Proposal, sources: list[Proposal]) -> Path:
    """The folder of the student, in the run's."""
    from consort.recipes.fusechat.run import fuse

    trials, plan = pool.trials, _plan(pool, pivot, sources)
    identity = [trials.key(one.expression, "train") for one in (pivot, *sources)]
    key = key_of([{**plan, "corpus": pool.given.identity[pool.given.train]}, identity])
    fused = fuse(plan, trials.journal.folder / FOLDER / f"fused-{key}")
    return (fused.folder / "model").resolve()


def _plan(pool: Pool, pivot: Proposal, sources: list[Proposal]) -> dict[str, Any]:
    size = max(m.parameters or 0 for family in pool.families for m in family.members)
    grouped = all(row.group for row in read_rows(Path(pool.given.train)))
    return {
        "pivot": pivot.expression,
        "sources": [one.expression for one in sources],
        "corpus": pool.given.train,
        "mode": "together",
        "seed": pool.trials.seed,
        "collect": {"block": _window(pool)},
        "fuse": {"unit": "group" if grouped else "turn"},
        "train": {"steps": STEPS, "batch": BATCH, "lr": TINY_RATE if size <= TINY else RATE, "lam": TEXT_SHARE},
    }


def _window(pool: Pool) -> int:
    """Tokens that every model can read at once."""
    configs = [m.checkpoint.config for family in pool.families for m in family.members if m.checkpoint is not None]
    told = [config.get(name) for config in configs for name in WINDOWS]
    return min((size for size in told if isinstance(size, int)), default=2048)
