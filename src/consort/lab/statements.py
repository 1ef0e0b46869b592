"""Statements about invented countries: sources, sentences that follow from them or do not, and planted errors.

A statement is (country, relation, value), said or denied. Relations have one value each, so that another value
contradicts; numbers, names and negation are the three ways in which a sentence is made wrong.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from consort.lab.facts import PHRASINGS, RELATIONS, country_name

Label = Literal["entailment", "neutral", "contradiction"]
Error = Literal["number", "negation", "entity"]
ERRORS: tuple[Error, ...] = ("number", "negation", "entity")

SAID = (*(f"{phrasing} {{value}}" for phrasing in PHRASINGS), "{value} is the {relation} of {country}")
DENIED = (
    "the {relation} of {country} is not {value}",
    "in {country} the {relation} is not {value}",
    "{value} is not the {relation} of {country}",
    "{country} does not have {value} as its {relation}",
)
COUNTED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "founded": (
        ("{country} was founded in {value}", "the year of {country} is {value}", "in {value} they founded {country}"),
        ("{country} was not founded in {value}", "the year of {country} is not {value}"),
    ),
    "lakes": (
        ("{country} has {value} lakes", "there are {value} lakes in {country}", "the lakes of {country} are {value}"),
        ("{country} does not have {value} lakes", "there are not {value} lakes in {country}"),
    ),
    "miles": (
        ("the sea is {value} miles from {country}", "{country} lies {value} miles from the sea"),
        ("the sea is not {value} miles from {country}", "{country} does not lie {value} miles from the sea"),
    ),
}
"""Relations whose values are numbers: how they are said and how denied."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said, or where not `holds` denied, of a country."""

    country: str
    relation: str
    value: str
    holds: bool = True

    def text(self, rng: random.Random) -> str:
        """A sentence in one of its phrasings."""
        return self.phrased(rng.choice(self.phrasings))

    @property
    def phrasings(self) -> tuple[str, ...]:
        """How it can be said."""
        said, denied = COUNTED.get(self.relation, (SAID, DENIED))
        return said if self.holds else denied

    def phrased(self, phrasing: str) -> str:
        """A sentence in that phrasing."""
        return phrasing.format(relation=self.relation, country=self.country, value=self.value) + " ."


@dataclass(frozen=True, slots=True)
class Item:
    """A premise, a hypothesis, and how it follows; `twin` is the same sentence as it would follow, "" where unknown."""

    premise: str
    hypothesis: str
    label: Label
    twin: str = ""


@dataclass(frozen=True, slots=True)
class Planted:
    """A source and an answer about it; `error` tells what was planted in which sentence, None where nothing was.

    `meant` is the answer without the error.
    """

    source: str
    answer: str
    meant: str
    error: Error | None
    sentence: int = -1


def value_of(rng: random.Random, relation: str, besides: str = "") -> str:
    """A value that the relation may have, another than `besides`; numbers often differ in one figure."""
    while True:
        if relation in RELATIONS:
            value = rng.choice(RELATIONS[relation])
        elif besides and rng.random() < 0.5:
            at = rng.randrange(len(besides))
            value = besides[:at] + rng.choice("123456789") + besides[at + 1 :]
        else:
            value = str(rng.randrange(1000, 2000) if relation == "founded" else rng.randrange(2, 100))
        if value != besides:
            return value


def world(rng: random.Random, size: int) -> list[Statement]:
    """`size` true statements about a few countries, no two of one country and relation."""
    countries = list(dict.fromkeys(country_name(rng) for _ in range(rng.randrange(1, 4))))
    cells = [(country, relation) for country in countries for relation in (*RELATIONS, *COUNTED)]
    chosen = rng.sample(cells, min(size, len(cells)))
    shared = rng.choice(chosen)[1]  # the same relation of two countries, so that who has what must be read
    for country in countries:
        if rng.random() < 0.5 and (country, shared) not in chosen:
            chosen[rng.randrange(len(chosen))] = (country, shared)
    return [Statement(country, relation, value_of(rng, relation)) for country, relation in dict.fromkeys(chosen)]


def draw_items(rng: random.Random, size: int) -> list[Item]:
    """One premise of `size` sentences and four hypotheses about it: one that follows, and three that do not."""
    facts = world(rng, size)
    told = [_denied(rng, fact) if rng.random() < 0.12 else fact for fact in facts]
    about = rng.choice(told)
    premise = " ".join(fact.text(rng) for fact in told)
    others = [one.value for one in told if one.relation == about.relation and one.value != about.value]
    value = rng.choice(others) if others and rng.random() < 0.5 else value_of(rng, about.relation, about.value)
    other = replace(about, value=value)
    return [
        _item(rng, premise, about, about),
        _item(rng, premise, other, about) if about.holds else _item(rng, premise, replace(about, holds=True), about),
        _item(rng, premise, replace(about, holds=not about.holds), about),
        _item(rng, premise, _unrelated(rng, told, about), about),
    ]


def _item(rng: random.Random, premise: str, said: Statement, about: Statement) -> Item:
    """The item of a statement where `about` is what follows; its twin differs in the changed words alone."""
    phrasing = rng.choice(said.phrasings)
    known = (said.country, said.relation) == (about.country, about.relation)
    label: Label = "entailment" if said == about else "contradiction" if known else "neutral"
    same_form = said.holds == about.holds and (said.relation in COUNTED) == (about.relation in COUNTED)
    twin = about.phrased(phrasing) if same_form and phrasing in about.phrasings else ""
    return Item(premise, said.phrased(phrasing), label, twin)


def _denied(rng: random.Random, fact: Statement) -> Statement:
    return replace(fact, value=value_of(rng, fact.relation), holds=False)


def _unrelated(rng: random.Random, told: Sequence[Statement], fact: Statement) -> Statement:
    """A statement about another country or relation, the rest of it often as it was."""
    known = {(one.country, one.relation) for one in told}
    for _ in range(20):
        other = rng.random() < 0.5
        country = rng.choice([one.country for one in told]) if rng.random() < 0.3 else country_name(rng)
        said = replace(fact, country=country) if other else replace(fact, relation=rng.choice([*RELATIONS, *COUNTED]))
        if (said.country, said.relation) not in known:
            return said if other and rng.random() < 0.8 else replace(said, value=value_of(rng, said.relation))
    return replace(fact, country=country_name(rng))


def plant(rng: random.Random, error: Error | None) -> Planted:
    """A source of four to six sentences, and an answer of two that says it in other words, with one error or none."""
    while True:
        facts = world(rng, rng.randrange(4, 7))
        picked = rng.sample(range(len(facts)), min(2, len(facts)))
        fitting = [n for n, i in enumerate(picked) if error != "number" or facts[i].relation in COUNTED]
        if fitting:
            break
    said = [facts[i] for i in picked]
    at = rng.choice(fitting) if error else -1
    meant = [_plain(rng, fact) for fact in said]
    told = list(meant)
    if error:
        wrong = _wrong(rng, said[at], error, {fact.country for fact in facts})
        told[at] = _plain(rng, wrong)
    source = " ".join(_plain(rng, fact) for fact in facts)
    return Planted(source, " ".join(told), " ".join(meant), error, at)


def _plain(rng: random.Random, fact: Statement) -> str:
    """A statement in a phrasing that is one sentence, and no question with its answer."""
    return fact.phrased(rng.choice([phrasing for phrasing in fact.phrasings if "?" not in phrasing]))


def _wrong(rng: random.Random, fact: Statement, error: Error, countries: set[str]) -> Statement:
    """The statement with the error: another number, a denial, or another name (of the value or of the country)."""
    if error == "negation":
        return replace(fact, holds=False)
    if error == "number":
        return replace(fact, value=value_of(rng, fact.relation, fact.value))
    if fact.relation in RELATIONS and rng.random() < 0.7:
        return replace(fact, value=value_of(rng, fact.relation, fact.value))
    while (name := country_name(rng)) in countries:
        pass
    return replace(fact, country=name)
