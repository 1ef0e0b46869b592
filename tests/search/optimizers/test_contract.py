"""What every optimizer keeps: one trace for one seed, replay from scores alone, points inside a hard box, an end."""

from __future__ import annotations

import pytest
import torch

from consort.core.errors import BadParameter
from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizers

SMALL = Domain([0.0] * 3, [1.0] * 3, starts=torch.eye(3).tolist())
OURS = sorted(set(optimizers) - {"pso"})
BRIEF = {name: {"evaluations": 20} for name in ("bayes", "cma", "coarse_to_fine", "lorahub", "random")} | {
    "grid": {"values": 3}
}


def made(name, domain=SMALL, seed=0):
    return optimizers.get(name)(domain, seed=seed, **BRIEF.get(name, {}))


def score(point):
    return -float(((torch.as_tensor(point) - torch.tensor([0.2, 0.7, 0.4])) ** 2).sum())


@pytest.mark.parametrize("name", OURS)
def test_one_seed_one_trace_and_replay(name, drive):
    points, scores = drive(made(name), score)
    assert drive(made(name), score) == (points, scores)
    told, half = iter(scores), len(scores) // 2
    replayed, _ = drive(made(name), lambda _: next(told), most=half)
    assert replayed == points[: len(replayed)]


@pytest.mark.parametrize("name", OURS)
def test_points_lie_in_the_box_and_the_search_ends(name, drive):
    points, _ = drive(made(name), score)
    assert len(points) < 200
    assert all(-1e-12 <= value <= 1 + 1e-12 for point in points for value in point)


@pytest.mark.parametrize("name", OURS)
def test_points_that_cannot_be_made_do_no_harm(name, drive):
    points, _ = drive(made(name), lambda point: -torch.inf if point[0] > 0.5 else score(point))
    assert torch.tensor(points).isfinite().all()
    drive(made(name), lambda point: -torch.inf)


@pytest.mark.parametrize("name", OURS)
def test_asking_twice_asks_the_same(name):
    optimizer = made(name)
    assert torch.equal(optimizer.ask(), optimizer.ask())


@pytest.mark.parametrize("name", sorted(optimizers))
def test_G4_scores_that_are_none_are_refused_and_change_nothing(name):
    optimizer = made(name)
    asked = optimizer.ask().clone()
    for wrong in (torch.full((len(asked),), torch.nan), torch.zeros(len(asked) + 1), torch.zeros(len(asked), 1)):
        with pytest.raises(BadParameter, match=f"are not {len(asked)} scores"):
            optimizer.tell(wrong)
    assert torch.equal(optimizer.ask(), asked)
    optimizer.tell(torch.zeros(len(asked)))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("bayes", {"kernel": "gaussian"}), ("pso", {"velocity": "fast"}), ("cma", {"sigma": 0}), ("grid", {"valeus": 3})],
)
def test_what_a_signature_does_not_allow_is_refused_in_python(name, wrong):
    with pytest.raises(BadParameter):
        optimizers.get(name)(SMALL, **wrong)


@pytest.mark.parametrize("name", ["diwa", "greedy_soup", "heuristic", "coarse_to_fine"])
def test_soups_need_models(name):
    with pytest.raises(BadParameter, match="there is none"):
        optimizers.get(name)(Domain([0.0], [1.0]))
