"""The models that were handed in: which can be merged with which, and which of them is the base."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from consort.core.errors import BadParameter, ConsortError, Incompatible, did_you_mean, listing
from consort.core.files import sha256_of
from consort.core.journal import key_of
from consort.merge import merge
from consort.plan.build import Builder
from consort.plan.expression import Reference
from consort.plan.references import folder_of, has_weights, is_table, label_of
from consort.weights import declared_base, describe
from consort.weights.checkpoint import Checkpoint, leaves
from consort.weights.stats import fingerprint

WINNER = "winner"
UNIFORM = "uniform soup"
RESERVED = {WINNER, UNIFORM}


@dataclass(frozen=True, slots=True)
class Member:
    """One input: its reference as given, what reports call it, and its weights (an adapter with its base).

    `checkpoint` is None for an endpoint and for cached answers.
    """

    reference: str
    label: str
    checkpoint: Checkpoint | None

    @property
    def parameters(self) -> int | None:
        """How many weights it has, None where they are not here."""
        if self.checkpoint is None:
            return None
        return sum(math.prod(self.checkpoint.spec(name).shape) for name in self.checkpoint.keys())


def identity_of(member: Member) -> str:
    """What a member stands for, by its content: two references of equal identity give equal results.

    Of weights that is what their headers, config and tokenizer say and a part of each tensor; of cached answers the
    whole file; of an endpoint its reference, since more cannot be known.
    """
    if member.checkpoint is not None:
        told = [{k: v for k, v in describe(leaf).items() if k != "name"} for leaf in leaves(member.checkpoint)]
        return key_of([told, fingerprint(member.checkpoint)])
    if is_table(member.reference):
        from consort.models.cached.reference import split_reference

        file, column = split_reference(member.reference)
        return key_of(["table", column, sha256_of(Path(file))])
    return key_of(["endpoint", member.reference])


@dataclass(frozen=True, slots=True)
class Family:
    """Members whose weights can be combined, and the one that the others started from, if it is known."""

    members: tuple[Member, ...]
    base: Member | None = None

    @property
    def experts(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m is not self.base)


def open_members(references: Sequence[str], builder: Builder, base: str | None = None) -> list[Member]:
    """Open every input, each once; all that cannot be opened are named together."""
    members, faults, labels = [], [], _labels(list(dict.fromkeys(references)))
    for reference, label in labels.items():
        try:
            wanted = "checkpoint" if has_weights(reference) else "model"
            opened = builder.build(Reference(reference), wanted)
            members.append(Member(reference, label, opened if wanted == "checkpoint" else None))
        except ConsortError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise Incompatible(listing(map(str, faults)), hint=faults[0].hint)
    if base is not None and base not in references:
        raise BadParameter("is not among the inputs", field=f"--base {base}", hint=did_you_mean(base, references))
    return members


def _labels(references: Sequence[str]) -> dict[str, str]:
    """The last part of each reference, or all of it where that would not tell it from another or from the winner."""
    names = [label_of(reference) for reference in references]
    unclear = {name for name in names if names.count(name) > 1} | RESERVED
    return {r: r if name in unclear else name for r, name in zip(references, names, strict=True)}


def repeated(references: Sequence[str]) -> list[str]:
    """What there is to say of inputs that are few or named twice."""
    twice = [r for r in dict.fromkeys(references) if references.count(r) > 1]
    notes = [f"{reference} was given {references.count(reference)} times and counts once" for reference in twice]
    if len(set(references)) == 1:
        notes.append("one model has nothing to be combined with")
    return notes


def families(members: Sequence[Member], base: str | None = None) -> tuple[list[Family], list[str]]:
    """Members grouped by what the merge engine accepts, and why each later group is apart from the first."""
    groups: list[list[Member]] = []
    reasons: list[str] = []
    for member in (m for m in members if m.checkpoint is not None):
        home, reason = _home_of(member, groups)
        if home is None:
            groups.append([member])
            reasons += [f"{member.label} is of another family: {_cut(reason)}"] if reason else []
        else:
            home.append(member)
    return [Family(tuple(g), _base_of(g, base)) for g in groups], reasons


def _cut(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[:most] + " …"


def _home_of(member: Member, groups: list[list[Member]]) -> tuple[list[Member] | None, str]:
    reason = ""
    for group in groups:
        try:
            merge("linear", [m.checkpoint for m in (group[0], member) if m.checkpoint is not None])
        except ConsortError as error:
            reason = reason or str(error)
        else:
            return group, ""
    return None, reason


def _base_of(group: Sequence[Member], wanted: str | None) -> Member | None:
    """`wanted`, else the member that most of the others declare as their base."""
    for member in group:
        if member.reference == wanted:
            return member
    if wanted is not None:
        return None
    votes = [name for m in group for name in _declared(m)]
    named = [(votes.count(label_of(m.reference)), -i) for i, m in enumerate(group)]
    most, position = max(named)
    return group[-position] if most else None


def _declared(member: Member) -> set[str]:
    return {PurePath(name).name for name in declared_base(folder_of(member.reference))}
