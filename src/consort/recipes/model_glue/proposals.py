"""Model-GLUE (2410.05357) as a part of a search: a zoo clustered, harm left out, clusters merged, a router across them.

`model_glue` is a run of this alone; `auto` takes what it makes as candidates beside its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.errors import Unsupported
from consort.evaluate import Result
from consort.recipes.auto.learners import ROUTERS, learners
from consort.recipes.auto.stage import Proposal
from consort.recipes.model_glue.clusters import Group, Worth, base_among, harmful_members, merged_groups
from consort.runs.folder import ZOO_FOLDER
from consort.runs.pool import Member, families
from consort.runs.trials import Candidate, Trials
from consort.zoo import Similarities, architecture_families, similarities
from consort.zoo.signals import mergeability
from consort.zoo.signals import to_json as signals_to_json

THRESHOLD = 0.95
"""How alike models are that are merged, by default."""
COMPARED_ENTRIES = 4e9
"""Signals of mergeability are told up to so many parameters times pairs: a few minutes."""


@dataclass(frozen=True, slots=True)
class MergedZoo:
    """What the recipe made of a zoo: the clusters' results, best first, and routers over them, cross-fitted.

    `harmful` has the labels of the models left out, with reasons; `signals` tell how well pairs may merge; `notes` is
    what else there is to say.
    """

    zoo: Similarities
    threshold: float
    harmful: dict[str, str]
    groups: tuple[Group, ...]
    routers: tuple[Proposal, ...]
    signals: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The details of results.json that tell of a zoo."""
        clusters = [group.to_json() for group in self.groups]
        told = {"threshold": self.threshold, "clusters": clusters, "harmful": self.harmful}
        told |= {"signals": list(self.signals)} if self.signals else {}
        return {"zoo": {**self.zoo.to_json(), **told}}


def merge_zoo(
    trials: Trials,
    members: Sequence[Member],
    worth: Worth,
    *,
    base: str | None,
    threshold: float = THRESHOLD,
    force: bool = False,
) -> MergedZoo:
    """Cluster `members`, search the merges of each cluster within `trials.limit`, and let routers learn across them.

    All merges and routers are entered as candidates. Raises Unsupported for a model that cannot be compared.
    """
    zoo = _compared(members, base, trials.journal.folder / ZOO_FOLDER, force)
    harmful = harmful_members(members, zoo, worth, base)
    groups, said = merged_groups(trials, members, zoo, worth, base=base, threshold=threshold, without=tuple(harmful))
    routers, why = _routed(trials, groups)
    left_out = [f"{label} was left out as harmful: {reason}" for label, reason in harmful.items()]
    signals, unknown = _signals(members, base)
    notes = (*left_out, *said, *why, *unknown)
    return MergedZoo(zoo, threshold, harmful, tuple(groups), tuple(routers), tuple(signals), notes)


def proposal_of(trials: Trials, group: Group) -> Proposal:
    """A cluster's result as a member of teams."""
    result: Result = replace(trials.result(group.name, group.plan, "fit"), model=group.name)
    return Proposal(group.name, group.plan, result, trials.tariff.price(result), seconds=result.seconds_per_example)


def weights_of(member: Member) -> Any:
    """A member's checkpoint. Raises Unsupported where it has none."""
    if member.checkpoint is None:
        hint = "consort auto without --recipe takes endpoints and cached answers"
        raise Unsupported("has no weights to compare or to merge", field=member.reference, hint=hint)
    return member.checkpoint


def _compared(members: Sequence[Member], base: str | None, cache: Path, force: bool) -> Similarities:
    """The similarities of all pairs, deltas from each family's own base where that is known."""
    found = [base_among(family.members, base) for family in families(members)[0]]
    bases = [weights_of(below) for below in found if below is not None]
    # families that differ in their vocabularies alone are one to the comparison, which takes one base for each
    bases = [bases[group[0]] for group in architecture_families(bases)]
    checkpoints, names = [weights_of(m) for m in members], [m.label for m in members]
    return similarities(checkpoints, names=names, base=bases, cache=cache, force=force)


def _signals(members: Sequence[Member], base: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Of every pair of each family whose base is known; or why they are not told."""
    found, notes = [], []
    for family in families(members)[0]:
        below = base_among(family.members, base)
        tuned = [member for member in family.members if member is not below]
        if below is None or len(tuned) < 2:
            continue
        if (below.parameters or 0) * len(tuned) * (len(tuned) - 1) / 2 > COMPARED_ENTRIES:
            notes.append(f"how well pairs may merge: consort zoo similarity … --base {below.reference} --signals")
            continue
        pairs = mergeability([weights_of(member) for member in tuned], weights_of(below))
        found += signals_to_json(pairs, [member.label for member in tuned])
    return found, notes


def _routed(trials: Trials, groups: Sequence[Group]) -> tuple[list[Proposal], list[str]]:
    """Routers over the clusters' results, cross-fitted on fit and entered as candidates; or why there is none."""
    if len(groups) < 2:
        return [], ["there is one cluster, so there is nothing to mix"]
    merged = [proposal_of(trials, group) for group in groups]
    examples = trials.task.split("fit", seed=trials.seed)
    routers, why = learners(merged, examples, trials.seed, ROUTERS, of="clusters")
    for router in routers:
        trials.enter(Candidate(router.name, router.expression, router.score, "cross-fitted"))
    return routers, why
