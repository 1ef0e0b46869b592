"""Merges whose coefficients are trained on the rows that the run was given (`--train`); no label is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.journal import key_of
from consort.plan.expression import parse
from consort.recipes.auto.given import read_rows
from consort.recipes.auto.stage import Pool, Proposal
from consort.runs.pool import Family
from consort.runs.trials import BudgetSpent

if TYPE_CHECKING:
    from consort.merge.trained.passages import Line

FOLDER = "trained"
"""Of a run: what was trained, by a hash of all that it depends on."""
LARGEST = 200_000_000
"""Weights of a model that is trained here; larger ones are left to `consort collect` and `consort fuse`."""
STEPS, RATE, START = 60, 0.01, 0.3
ROWS = 256
"""Rows at most."""
DIGITS = 4


class Trained:
    """AdaMerging with a coefficient for each model of a family, written as plain task arithmetic."""

    name = "trained merges"
    tries = "coefficients of each family's task vectors trained on the rows given"
    passes = 30.0

    def needs(self, pool: Pool) -> int:
        return len(_families(pool)) if pool.given.train else 0

    def propose(self, pool: Pool, share: int) -> tuple[list[Proposal], list[str]]:
        if not pool.given.train:
            return [], [f"not tried: {self.name}: no rows to train on were given (--train)"]
        if not _families(pool):
            return [], [f"not tried: {self.name}: no family has a base that is known and two experts"]
        lines = _lines(Path(pool.given.train))
        if not lines:
            return [], [f"not tried: {self.name}: all rows are chats"]
        found, notes = [], []
        for family in _families(pool):
            try:
                best, said = _trained(pool, family, lines)
            except EnvironmentFailure:
                raise
            except ConsortError as fault:
                best, said = None, [str(fault)]
            except BudgetSpent as spent:
                notes.append(f"not tried: {spent}: {self.name} of {family.members[0].label}'s family")
                break
            found += [best] if best else []
            notes += [f"not tried: {self.name} of {family.members[0].label}'s family: {why}" for why in said]
        return found, notes


def _families(pool: Pool) -> list[Family]:
    return [family for family in pool.families if family.base is not None and len(family.experts) > 1]


def _lines(file: Path) -> list[Line]:
    from consort.merge.trained.passages import Line

    rows = [row for row in read_rows(file) if row.messages is None][:ROWS]
    return [Line(row.prompt or "", row.text or next(iter(row.target), None), row.group or "") for row in rows]


def _trained(pool: Pool, family: Family, lines: list[Line]) -> tuple[Proposal | None, list[str]]:
    """The trained merge, where it is better than the family's best so far; and why there is none."""
    label = family.members[0].label
    size = family.members[0].parameters or 0
    if size > LARGEST:
        return None, [f"{size / 1e9:.2g} billion weights; here those of {LARGEST / 1e9:.2g} at most are trained"]
    references, weights = _coefficients(pool, family, lines)
    arguments = {"models": references, "base": family.base and family.base.reference, "weight": weights}
    system = Proposal(f"adamerging of {len(references)}", {"task_arithmetic": arguments}, None, None)
    tried = pool.tried(system)
    if tried is None or tried.known.score <= pool.best_of_family[label].known.score:
        return None, []
    pool.best_of_family[label] = tried
    return tried, []


def _coefficients(pool: Pool, family: Family, lines: list[Line]) -> tuple[list[str], list[float]]:
    """The experts, and what training finds for each of them; kept in the run's folder."""
    from dataclasses import asdict

    from consort.merge.trained.collecting import Options, collect_trained
    from consort.merge.trained.store import read_found

    trials = pool.trials
    references = [member.reference for member in family.experts]
    base = family.base.reference if family.base else ""
    start: Any = {"task_arithmetic": {"models": references, "base": base, "weight": START}}
    merged = trials.builder.build(parse(start).root, "checkpoint")
    options = Options(steps=STEPS, lr=RATE, grain="model", seed=trials.seed)
    identity = [trials.identity[name] for name in (*references, base)]
    key = key_of([start, identity, asdict(options), [asdict(line) for line in lines]])
    folder = trials.journal.folder / FOLDER / f"adamerging-{key}"
    collect_trained("adamerging", merged, lines, folder, options)
    amounts = read_found(folder, "adamerging", needs=("amounts",))["amounts"]
    return references, [round(float(amount), DIGITS) for amount in amounts[0]]
