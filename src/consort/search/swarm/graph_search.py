"""Heterogeneous Swarms (2502.04510): two swarms in turn, one over graphs of models, one over the models' weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from consort.search.engine.domain import Domain
from consort.search.optimizers.pso import Pso
from consort.search.swarm.graph import Graph, assignment_scores, decode, drawn_assignments, matrix_of

Point = tuple[float, ...]
Score = Callable[[Graph, Sequence[Point]], float]
"""The utility of a graph whose node i runs the model at point i."""


@dataclass(frozen=True, slots=True)
class Team:
    """A graph, the model at each of its nodes, and what they score together."""

    graph: Graph
    points: tuple[Point, ...]
    score: float


def heterogeneous(
    score: Score,
    models: Domain,
    nodes: int,
    *,
    rounds: int = 10,
    graphs: int = 10,
    particles: int = 10,
    assignments: int = 10,
    top_p: float = 0.0,
    seed: int = 0,
) -> Team:
    """The best team found in `rounds` of a graph step and a weight step.

    Graph step: particle swarm over matrices, by the utility of the decoded graph with the best models so far at its
    nodes. Weight step: with the best graph, `assignments` of models to nodes are drawn, and each model's score is the
    mean of theirs, weighted by how often it is used; particle swarm over the models of the domain `models`.
    """
    size = nodes * (nodes - 1)
    box = Domain([0.0] * size, [1.0] * size)
    over_graphs = Pso(box, seed=seed, particles=graphs, iterations=rounds, patience=rounds + 1)
    over_models = Pso(models, seed=seed + 1, particles=particles, iterations=rounds, patience=rounds + 1)
    first = [tuple(models.starts[i % len(models.starts)]) for i in range(nodes)]
    best: Team | None = None
    for number in range(rounds):
        best = _graph_step(over_graphs, score, best, first, nodes, top_p, seed)
        best = _weight_step(over_models, score, best, nodes, assignments, seed, number)
    if best is None:
        raise ValueError("no rounds")
    return best


def _graph_step(
    swarm: Pso, score: Score, best: Team | None, first: Sequence[Point], nodes: int, top_p: float, seed: int
) -> Team | None:
    points = swarm.ask()
    if not len(points):
        return best
    models = tuple(best.points if best else first)
    teams = []
    for row in points.tolist():
        graph = decode(matrix_of(row, nodes), top_p=top_p, seed=seed)
        teams.append(Team(graph, models, score(graph, models)))
    swarm.tell(torch.tensor([team.score for team in teams], dtype=torch.float64))
    return _better(best, teams)


def _weight_step(
    swarm: Pso, score: Score, best: Team | None, nodes: int, count: int, seed: int, number: int
) -> Team | None:
    points = [tuple(row) for row in swarm.ask().tolist()]
    if not points or best is None:
        return best
    drawn = drawn_assignments(nodes, len(points), count, seed, number)
    teams = []
    for assignment in drawn:
        team = replace(best, points=tuple(points[i] for i in assignment))
        teams.append(replace(team, score=score(team.graph, team.points)))
    found = assignment_scores(drawn, [team.score for team in teams], len(points))
    swarm.tell(torch.tensor(found, dtype=torch.float64))
    return _better(best, teams)


def _better(best: Team | None, teams: Sequence[Team]) -> Team | None:
    """The first of the highest scores; what was there before stays unless it is beaten."""
    for team in teams:
        if best is None or team.score > best.score:
            best = team
    return best
