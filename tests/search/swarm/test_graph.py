"""Heterogeneous swarms: decoding by hand, answering along a graph, two swarms in turn."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.core.types import Completion, Usage
from consort.ensemble.after.graph_of_models import GraphOfModels, topological
from consort.search.engine.domain import coefficient_domain
from consort.search.swarm.graph import assignment_scores, decode, matrix_of
from consort.search.swarm.graph_search import heterogeneous

A = torch.tensor([[0.0, 8, 3, 6], [2, 0, 4, 7], [4, 3, 0, 5], [4, 5, 2, 0]])


def test_decoding_by_hand():
    before = A.clone()
    graph = decode(A)
    assert graph.end == 3 and graph.edges == ((0, 3), (1, 3), (2, 3))
    assert torch.equal(A, before) and decode(A) == graph


@pytest.mark.parametrize("seed", range(20))
def test_every_drawn_graph_ends_in_one_node(seed):
    graph = decode(matrix_of([0.5 + 0.1 * ((i * 7 + seed) % 5) for i in range(20)], 5), top_p=0.9, seed=seed)
    assert topological(graph.to)[-1] == graph.end
    assert all(graph.order.index(i) < graph.order.index(j) for i, j in graph.edges)


@pytest.mark.parametrize("wrong", [torch.zeros(3, 3), torch.ones(2, 3), torch.tensor([[0.0, -1], [1, 0]])])
def test_a_matrix_must_be_square_and_positive(wrong):
    with pytest.raises(BadParameter):
        decode(wrong)


class Says:
    def __init__(self, word):
        self.name = self.word = word

    def generate(self, prompts, sampling=None):
        return [Completion(f"{self.word}({p.count(chr(10) + '- ')})", usage=Usage(1, 1, 1)) for p in prompts]


def test_nodes_see_their_predecessors_and_the_end_answers():
    team = GraphOfModels([Says("a"), Says("b"), Says("c")], to=[2, 2, -1])
    (answer,) = team.generate(["task"])
    assert answer.text == "c(2)"
    assert answer.details["nodes"] == {"1": "b(0)", "0": "a(0)", "2": "c(2)"}
    assert answer.cost["a"].calls == 1


@pytest.mark.parametrize("to", [[1, 0, -1], [0, -1], [-1, -1], [5, -1]])
def test_what_is_no_graph_is_refused(to):
    with pytest.raises(BadParameter):
        GraphOfModels([Says(str(i)) for i in range(len(to))], to=to)


def test_models_are_scored_by_the_assignments_that_use_them():
    assert assignment_scores([[0, 0, 1], [1, 1, 1]], [0.6, 0.2], 3) == pytest.approx([0.6, (0.6 + 3 * 0.2) / 4, 0])


def test_two_swarms_find_a_better_team_than_they_start_with():
    target = (0.6, 0.4)

    def score(graph, points):
        close = -sum(sum((a - b) ** 2 for a, b in zip(p, target, strict=True)) for p in points)
        return close + (1.0 if graph.end == 2 else 0.0)

    domain = coefficient_domain(["a", "b"])
    start = score(decode(torch.ones(3, 3)), [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
    team = heterogeneous(score, domain, 3, rounds=8, seed=1)
    assert team.score > start and team.score == score(team.graph, team.points)
    assert team == heterogeneous(score, domain, 3, rounds=8, seed=1)
