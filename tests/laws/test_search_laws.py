"""The laws of optimizers find what breaks them (every optimizer: test_registered)."""

from __future__ import annotations

import pytest
import torch

from consort.testing import search_laws as laws


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
