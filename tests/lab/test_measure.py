"""The claims about a zoo: they hold of the published figures, each can fail, and the shipped zoo keeps them."""

from __future__ import annotations

import pytest

from consort import lab
from consort.lab.measure import claims, measure_core

PUBLISHED = {
    "base": 0.149,
    "best single": 0.408,
    "own skill, least": 0.97,
    "uniform": 0.405,
    "task arithmetic": 0.945,
    "ties": 0.966,
    "harmful uniform": 0.247,
    "harmful re-tuned": 0.246,
    "harmful search": 0.930,
    "harmful coefficient": 0.0,
    "soup best single": 0.796,
    "soup": 0.867,
}
SPOILT = {
    "base": 0.3,
    "best single": 0.6,
    "own skill, least": 0.7,
    "ties": 0.7,
    "harmful uniform": 0.35,
    "harmful search": 0.5,
    "harmful coefficient": 0.3,
    "soup": 0.8,
}


def test_the_claims_hold_of_the_published_figures():
    assert all(claim.holds for claim in claims(PUBLISHED))


@pytest.mark.parametrize("name", SPOILT)
def test_each_claim_can_fail(name):
    failed = [claim for claim in claims(PUBLISHED | {name: SPOILT[name]}) if not claim.holds]
    assert len(failed) >= 1


@pytest.mark.slow
def test_the_shipped_zoo_keeps_every_claim():
    assert [claim for claim in claims(measure_core(lab.path())) if not claim.holds] == []
