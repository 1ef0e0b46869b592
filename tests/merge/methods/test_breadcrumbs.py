"""The largest and the smallest changes left out."""

from __future__ import annotations

import pytest
import torch


def test_matrices(gives):
    for name in ("breadcrumbs", "breadcrumbs_ties"):
        gives([[1, -4], [4, 1]], name, ["X1", "X2"], base="B", density=0.5, gamma=0.25)
    gives([[1, -1.5], [2.5, 1]], "breadcrumbs_ties", ["X1", "X2"], base="B", density=0.5, gamma=0.25, normalize=True)


def test_each_model_has_bounds_of_its_own(gives):
    models = [[1.0, 2, 3, 4], [4.0, 3, 2, 1]]
    gives([0, 2, 3, 0], "breadcrumbs", models, base=[0.0] * 4, density=[0.5, 0], gamma=0.25)
    gives([4, 5, 5, 1], "breadcrumbs", models, base=[0.0] * 4, density=[0.5, 1], gamma=[0.25, 0])


@pytest.mark.parametrize("density, gamma, kept", [(1, 0, 100), (0, 0, 0), (0.9, 0.01, 90), (0.5, 0.1, 50)])
def test_as_many_are_kept_as_asked(merged, density, gamma, kept):
    delta = torch.arange(1.0, 101)
    got = merged("breadcrumbs", [delta], base=torch.zeros(100), density=density, gamma=gamma)
    assert int(got.count_nonzero()) == kept
    assert kept == 0 or int(got.max()) == 100 - gamma * 100
