"""Ways through a graph, chosen step by step: a beam over relations (Think-on-Graph, 2307.07697).

Which relation to follow is told by a language model's likelihood of its name, or by a small classifier that was fitted
on questions with their ways (`consort.cooperate.retrieve.relations`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from consort.cooperate.retrieve.asking import Costs
from consort.cooperate.retrieve.quoting import controls_of, inert
from consort.cooperate.retrieve.relations import END, Relations
from consort.cooperate.retrieve.retrievers import retriever
from consort.cooperate.retrieve.retrievers.graph import check_graph
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range
from consort.knowledge.evidence import Evidence, checked
from consort.knowledge.graph import Graph, GraphIndex, Step, alias_of, opened_graph
from consort.models.base import LanguageModel
from consort.models.cost import scored

MOST_WAYS = 1000
"""Ways of one chain of relations that are followed."""


@retriever(paper="2307.07697")
class Walk:
    """Ways of at most `depth` facts from the entities that a query names, along the likeliest relations.

    In each step the `width` best chains of relations are kept. `model` scores a relation by the likelihood of its name
    after the question and the way so far, "stop" ends a way; or `state` is a file of relations that were fitted. A
    piece of evidence is a way: its id are the facts, its score the chain's log-probability (nats).
    """

    def __init__(
        self,
        *,
        graph: GraphIndex,
        model: LanguageModel | None = None,
        state: str = "",
        width: Annotated[int, Range(1, 100)] = 3,
        depth: Annotated[int, Range(1, 10)] = 3,
    ) -> None:
        self.graph, self.model, self.state, self.width, self.depth = graph, model, str(state), width, depth
        check_graph(graph)
        if (model is None) == (not state):
            raise BadParameter("needs a model or a state, not both", field="model", hint="model: a, or state: FILE")
        if model is not None and not hasattr(model, "score"):
            raise Unsupported("does not tell log-likelihoods", field=model.name, hint="take a model that scores")

    @property
    def members(self) -> Sequence[Any]:
        """The models that it asks."""
        return () if self.model is None else (self.model,)

    @cached_property
    def triples(self) -> Graph:
        """The graph, opened when it is first asked for."""
        return opened_graph(self.graph)

    @cached_property
    def learned(self) -> Relations:
        """The relations that were fitted."""
        return Relations.open(Path(self.state))

    def search(self, queries: Sequence[str], k: int) -> list[list[Evidence]]:
        return self.search_counted(queries, k)[0]

    def search_counted(self, queries: Sequence[str], k: int) -> tuple[list[list[Evidence]], list[Costs]]:
        checked(queries, k)
        costs: list[Costs] = [[] for _ in queries]
        return [self._search(query, k, cost) for query, cost in zip(queries, costs, strict=True)], costs

    def _search(self, query: str, k: int, costs: Costs) -> list[Evidence]:
        found: dict[str, Evidence] = {}
        for entity in self.triples.link(query):
            for chain in self.chains(query, entity, costs):
                for step in chain.steps:
                    one = _evidence(step, chain.score, query)
                    if one.id not in found or found[one.id].score < one.score:
                        found[one.id] = one
        return sorted(found.values(), key=lambda one: (-one.score, one.id))[:k]

    def chains(self, query: str, entity: str, costs: Costs) -> list[Chain]:
        """The best chains of relations from an entity, best first; each ends where END is likelier than to go on."""
        open_, done = [Chain((), 0.0, (Step(entity),))], []
        for _ in range(self.depth + 1):
            grown = [longer for chain in open_ for longer in self._grown(query, entity, chain, costs)]
            grown.sort(key=lambda chain: (-chain.score, chain.relations, not chain.ended))
            kept = grown[: self.width]
            done += [chain for chain in kept if chain.ended and chain.relations]
            open_ = [chain for chain in kept if not chain.ended]
        return sorted(done, key=lambda chain: (-chain.score, chain.relations))[: self.width]

    def _grown(self, query: str, entity: str, chain: Chain, costs: Costs) -> list[Chain]:
        """The chain ended, and the chain with each relation that leads on from where it is."""
        ahead: dict[str, list[Step]] = {}
        for step in chain.steps[:MOST_WAYS] if len(chain.relations) < self.depth else ():
            for triple in self.triples.of_subject(step.entity):
                ahead.setdefault(triple.predicate, []).append(Step(triple.object, (*step.triples, triple)))
        told = self._told(query, entity, chain.relations, [*sorted(ahead), *([END] if chain.relations else [])], costs)
        grown = [
            Chain((*chain.relations, r), chain.score + told[r], tuple(ahead[r])) for r in sorted(ahead) if r in told
        ]
        if chain.relations and END in told:
            grown.append(Chain(chain.relations, chain.score + told[END], chain.steps, True))
        return grown

    def _told(
        self, query: str, entity: str, taken: tuple[str, ...], among: Sequence[str], costs: Costs
    ) -> Mapping[str, float]:
        """Nats of each relation among those that are there."""
        if self.model is None:
            told = self.learned.log_probabilities(without(query, entity), taken)
            return {name: told[name] for name in among if name in told}
        controls = controls_of(self.model)
        way = " -> ".join((alias_of(entity), *(r.replace("_", " ") for r in taken)))
        context = inert(f"Question: {query}\nWay to the answer: {way} ->", controls)
        pairs = [(context, inert(f" {name.replace('_', ' ') or 'stop'}", controls)) for name in among]
        if not pairs:
            return {}
        values, _, cost = scored(self.model, pairs)
        costs.append((self.model, cost))
        return dict(zip(among, values, strict=True))


@dataclass(frozen=True, slots=True)
class Chain:
    """Relations from an entity, their log-probability, and every way along them."""

    relations: tuple[str, ...]
    score: float
    steps: tuple[Step, ...]
    ended: bool = False


def without(query: str, entity: str) -> str:
    """The words of a query but those that name the entity."""
    from consort.knowledge.words import split

    words, name = split(query), alias_of(entity).split()
    for at in range(len(words) - len(name) + 1):
        if words[at : at + len(name)] == name:
            return " ".join([*words[:at], "x", *words[at + len(name) :]])
    return " ".join(words)


def _evidence(step: Step, score: float, query: str) -> Evidence:
    ids = "; ".join(triple.id for triple in step.triples)
    text = "; ".join(triple.text for triple in step.triples)
    return Evidence(ids, text, score, step.triples[-1].source, (0, 0), query)


def answers(found: Sequence[Evidence]) -> list[str]:
    """The entities that ways end in, best first, each once."""
    return list(dict.fromkeys(one.id.rpartition(" | ")[2] for one in found))
