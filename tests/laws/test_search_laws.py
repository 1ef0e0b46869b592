"""Every registered optimizer keeps the laws; a new file is tested because it exists."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from consort.search.engine.domain import Domain
from consort.search.optimizers import optimizers
from consort.testing import search_laws as laws

NEEDS: dict[str, dict[str, Any]] = {"coarse_to_fine": {}, "heuristic": {}}
OPTIMIZERS = [name for name in optimizers if all(not p.required for p in optimizers.entry(name).params[1:])]
BOX = Domain([0.0] * 3, [1.0] * 3, ("a", "b", "c"), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


def maker(name: str):
    return lambda domain, seed: optimizers.get(name)(domain, seed=seed, **NEEDS.get(name, {}))


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_keep_the_laws(name, law):
    law(maker(name))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_hard_box_is_never_left(name):
    for generation in laws.trace(maker(name)(BOX, 0), laws.bowl, 30):
        points = torch.tensor(generation)
        assert bool((points >= -1e-12).all()) and bool((points <= 1 + 1e-12).all())


class Forgetful:
    """Breaks every law that an optimizer can break by drawing from the global generator."""

    def __init__(self, domain, seed=0):
        self.domain = domain

    def ask(self):
        return torch.rand(2, self.domain.dim, dtype=torch.float64)

    def tell(self, scores):
        pass


@pytest.mark.parametrize(
    "law", [laws.check_ask_twice, laws.check_deterministic, laws.check_ends, laws.check_leaves_global_seeds]
)
def test_the_laws_find_what_breaks_them(law):
    with pytest.raises(AssertionError):
        law(Forgetful, most=50) if law is laws.check_ends else law(Forgetful)
