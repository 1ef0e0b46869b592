"""The weights by which the most frequent answer is right for most questions, by an integer programme (2509.21091).

With ever more samples, drawn from each model as often as its weight says, the share of an answer is the weighted mean
of the models' shares; the answer returned is the mode of that mixture. Which questions it gets right is exact in the
weights: one binary variable a question, one inequality a wrong answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from consort.core.errors import BadData, EnvironmentFailure

MARGIN = 1e-3
"""By so much the right answer's share must be above every other's."""
NODES = 20_000
"""Of the tree of the integer programme; a bound on work that is the same on every machine."""


@dataclass(frozen=True, slots=True)
class Question:
    """Of each answer the share that each model gives it, and whether it is right."""

    shares: Float[np.ndarray, "model answer"]
    right: Bool[np.ndarray, " answer"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that sum to 1, how many questions they get right, and whether no others get more."""

    values: tuple[float, ...]
    right: int
    proven: bool


def optimal_weights(questions: Sequence[Question]) -> Weights:
    """The weights of most questions whose mode is right, and of these the ones of the largest least margin.

    Raises BadData without questions, EnvironmentFailure where the solver finds nothing.
    """
    if not questions:
        raise BadData("there are no questions", field="answers", hint="give answers whose quality is known")
    models = len(questions[0].shares)
    open_ = [(number, gain) for number, question in enumerate(questions) for gain in _gains(question)]
    open_ = [(number, gain) for number, gain in open_ if gain.size and (gain > 0).any(0).all()]
    values, proven = np.full(models, 1 / models), True
    if open_:
        taken, proven = _most(open_, models)
        values = _widest([gain for (_, gain), use in zip(open_, taken, strict=True) if use], models)
    return Weights(tuple(float(v) for v in values), _right(questions, values), proven)


def _gains(question: Question) -> list[Float[np.ndarray, "model wrong"]]:
    """Of each right answer its share less those of the wrong ones."""
    wrong = question.shares[:, ~question.right]
    return [share[:, None] - wrong for share in question.shares[:, question.right].T]


def _right(questions: Sequence[Question], weights: Float[np.ndarray, " model"]) -> int:
    """How many questions have a right answer above all wrong ones."""
    return sum(any(bool((weights @ gain >= MARGIN / 2).all()) for gain in _gains(q)) for q in questions)


def _most(
    gains: Sequence[tuple[int, Float[np.ndarray, "model wrong"]]], models: int
) -> tuple[Bool[np.ndarray, " gain"], bool]:
    """Which gains, each of a numbered question, one weighting keeps above the margin, and whether more are proven away.

    A variable z is 1 where w . gain >= MARGIN holds for every wrong answer; a question with several right ones counts
    once.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    count, slack = len(gains), 1 + MARGIN
    places = np.eye(count)
    above = np.array([[*column, *-slack * places[i]] for i, (_, gain) in enumerate(gains) for column in gain.T])
    once = np.array([[0.0] * models + [float(own == number) for own, _ in gains] for number in {n for n, _ in gains}])
    total = np.array([[1.0] * models + [0.0] * count])
    found = milp(
        -np.r_[np.zeros(models), np.ones(count)],
        constraints=[
            LinearConstraint(above, lb=MARGIN - slack),
            LinearConstraint(once, ub=1),
            LinearConstraint(total, lb=1, ub=1),
        ],
        bounds=Bounds(0, 1),
        integrality=np.r_[np.zeros(models), np.ones(count)],
        options={"node_limit": NODES},
    )
    if found.x is None:
        hint = "fit on fewer questions"
        raise EnvironmentFailure(f"the integer programme has no answer: {found.message}", field="weight", hint=hint)
    return found.x[models:] > 0.5, found.status == 0


def _widest(gains: Sequence[Float[np.ndarray, "model wrong"]], models: int) -> Float[np.ndarray, " model"]:
    """The weights that keep all gains as far above 0 as can be."""
    from scipy.optimize import linprog

    rows = np.array([np.r_[-column, 1.0] for gain in gains for column in gain.T])
    if not len(rows):
        return np.full(models, 1 / models)
    total = np.r_[np.ones(models), 0.0][None]
    bounds = [(0, 1)] * models + [(None, None)]
    found = linprog(np.r_[np.zeros(models), -1.0], rows, np.zeros(len(rows)), total, [1.0], bounds)
    weights = np.clip(found.x[:models], 0, None)
    return np.asarray(weights / weights.sum())
