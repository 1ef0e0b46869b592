"""The models that were handed in: which can be merged with which, and which of them is the base."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from consort.core.errors import BadParameter, ConsortError, Incompatible, did_you_mean, listing
from consort.core.files import sha256_of
from consort.core.journal import key_of
from consort.core.said import say
from consort.merge import merge
from consort.plan.build import Builder
from consort.plan.expression import parse
from consort.plan.references import folder_of, has_weights, is_table, label_of
from consort.runs.bases import likeliest, with_base
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
    whole file; of an endpoint its name and first address, since more cannot be known: which of its replicas answers is
    no matter, nor with what patience it is asked.
    """
    if member.checkpoint is not None:
        told = [{k: v for k, v in describe(leaf).items() if k != "name"} for leaf in leaves(member.checkpoint)]
        return key_of([told, fingerprint(member.checkpoint)])
    if is_table(member.reference):
        from consort.models.cached.reference import split_reference

        file, column = split_reference(member.reference)
        return key_of(["table", column, sha256_of(Path(file))])
    from consort.models.remote.reference import identity_of as endpoint_of

    return key_of(["endpoint", endpoint_of(member.reference)])


@dataclass(frozen=True, slots=True)
class Family:
    """Members whose weights can be combined, and the one that the others started from, if that is known, and how."""

    members: tuple[Member, ...]
    base: Member | None = None
    how: str = ""

    @property
    def experts(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m is not self.base)


def open_members(
    references: Sequence[str], builder: Builder, base: str | None = None, *, tell: bool = True
) -> list[Member]:
    """Open every input, each once; all that cannot be opened are named together. A table stands for all its models.

    What they are to one another is told at once, while the run can still be stopped, unless `tell` is False.
    """
    references = list(dict.fromkeys(one for reference in references for one in _each(reference)))
    members, faults, labels = [], [], _labels(references)
    for reference, label in labels.items():
        try:
            wanted = "checkpoint" if has_weights(reference) else "model"
            whole = with_base(reference, list(labels), base)
            opened = builder.build(parse(whole).root, wanted)
            members.append(Member(whole, label, opened if wanted == "checkpoint" else None))
        except ConsortError as error:
            faults.append(error)
    members = [m for i, m in enumerate(members) if m.reference not in {o.reference for o in members[:i]}]
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise Incompatible(listing(map(str, faults)), hint=faults[0].hint)
    if base is not None and base not in references:
        raise BadParameter("is not among the inputs", field=f"--base {base}", hint=did_you_mean(base, references))
    for line in kinship(members, base) if tell else ():
        say(line)
    return members


def _each(reference: str) -> list[str]:
    """The models of a table that is named without a column; any other reference is itself."""
    from consort.models.cached.model import open_table
    from consort.models.cached.reference import PREFIX, split_reference

    if not reference.startswith(PREFIX) or "#" in reference:
        return [reference]
    return [f"{reference}#{model}" for model in open_table(split_reference(reference)[0]).models]


def kinship(members: Sequence[Member], base: str | None = None) -> list[str]:
    """Of each family that has several members who they are, and which of them is the base, or what follows if none."""
    found = []
    for family in families(members, base)[0]:
        names = ", ".join(member.label for member in family.members)
        if len(family.members) > 1 and family.base is not None:
            found.append(f"{names}: one family, tuned from {family.base.label} ({family.how})")
        elif len(family.members) > 1:
            left = "methods that need differences from one are left out; name it with --base"
            found.append(f"{names}: one family, no base is known: {left}")
    return found


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
    return [Family(tuple(g), *_base_of(g, base)) for g in groups], reasons


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


def _base_of(group: Sequence[Member], wanted: str | None) -> tuple[Member | None, str]:
    """`wanted`, else the member that most others name as their base, else what their weights tell; and how."""
    for member in group:
        if member.reference == wanted:
            return member, "as --base says"
    if wanted is not None:
        return None, ""
    votes = [name for m in group for name in _declared(m)]
    named = [(votes.count(label_of(m.reference)), -i) for i, m in enumerate(group)]
    most, position = max(named)
    if most:
        return group[-position], "by what their folders say"
    found = likeliest(group)
    return found, "" if found is None else "by their weights"


def _declared(member: Member) -> set[str]:
    return {PurePath(name).name for name in declared_base(folder_of(member.reference))}
