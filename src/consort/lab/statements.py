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
        said, denied = COUNTED.get(self.relation, (SAID, DENIED))
        phrasing = rng.choice(said if self.holds else denied)
        return phrasing.format(relation=self.relation, country=self.country, value=self.value) + " ."


@dataclass(frozen=True, slots=True)
class Item:
    """A premise, a hypothesis, and how it follows."""

    premise: str
    hypothesis: str
    label: Label


@dataclass(frozen=True, slots=True)
class Planted:
    """A source and an answer about it; `error` tells what was planted in which sentence, None where nothing was."""

    source: str
    answer: str
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


def draw_item(rng: random.Random, size: int = 0) -> Item:
    """A premise of `size` sentences (0: one to five) and a hypothesis, each label a third of the time."""
    facts = world(rng, size or rng.randrange(1, 6))
    told = [_denied(rng, fact) if rng.random() < 0.12 else fact for fact in facts]
    label: Label = rng.choice(("entailment", "neutral", "contradiction"))
    about = rng.randrange(len(told))
    draw = {"entailment": _entailed, "neutral": _unrelated, "contradiction": _contradicted}[label]
    hypothesis = draw(rng, told, about)
    premise = " ".join(fact.text(rng) for fact in told)
    return Item(premise, hypothesis.text(rng), label)


def _denied(rng: random.Random, fact: Statement) -> Statement:
    return replace(fact, value=value_of(rng, fact.relation), holds=False)


def _entailed(rng: random.Random, told: Sequence[Statement], about: int) -> Statement:
    fact = told[about]
    if fact.holds and rng.random() < 0.15:
        return replace(fact, value=value_of(rng, fact.relation, fact.value), holds=False)
    return fact


def _contradicted(rng: random.Random, told: Sequence[Statement], about: int) -> Statement:
    fact = told[about]
    if not fact.holds or rng.random() < 0.35:
        return replace(fact, holds=not fact.holds)
    others = [one.value for one in told if one.relation == fact.relation and one.value != fact.value]
    if others and rng.random() < 0.6:
        return replace(fact, value=rng.choice(others))
    return replace(fact, value=value_of(rng, fact.relation, fact.value))


def _unrelated(rng: random.Random, told: Sequence[Statement], about: int) -> Statement:
    fact = told[about]
    known = {(one.country, one.relation) for one in told}
    for _ in range(20):
        country = rng.choice([fact.country, *(one.country for one in told), country_name(rng)])
        relation = rng.choice([fact.relation, *RELATIONS, *COUNTED])
        if (country, relation) not in known:
            value = fact.value if relation == fact.relation and rng.random() < 0.7 else value_of(rng, relation)
            return Statement(country, relation, value, rng.random() < 0.8)
    return Statement(country_name(rng), fact.relation, fact.value)


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
    if error:
        said[at] = _wrong(rng, said[at], error, {fact.country for fact in facts})
    source = " ".join(fact.text(rng) for fact in facts)
    return Planted(source, " ".join(fact.text(rng) for fact in said), error, at)


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
