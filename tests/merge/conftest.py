"""The matrices of the specification and merges of single matrices."""

from __future__ import annotations

import pytest
import torch

from consort.merge import merge
from consort.weights.checkpoint import Memory

MATRICES = {
    "B": [[1, 1], [1, 1]],
    "X1": [[5, -1], [2, 1]],
    "X2": [[0, -2], [3, 6]],
    "P": [[2, 0], [0, 0]],
    "Q": [[0, 2], [0, 0]],
    "Q4": [[0, 4], [0, 0]],
    "Z": [[0, 0], [0, 0]],
}


def checkpoint(values, name="memory", dtype=torch.float32, config=None):
    """Of a matrix, or of tensors by name."""
    values = values if isinstance(values, dict) else {"w": values}
    return Memory({k: torch.as_tensor(v, dtype=dtype) for k, v in values.items()}, config or {}, name=name)


@pytest.fixture
def memory():
    return checkpoint


@pytest.fixture
def merged():
    """The merge of matrices, given as lists or by their name in MATRICES; `gives` compares it within 1e-6."""

    def run(name, models, base=None, **params):
        found = [checkpoint(MATRICES.get(m, m) if isinstance(m, str) else m) for m in models]
        under = None if base is None else checkpoint(MATRICES[base] if isinstance(base, str) else base)
        return merge(name, found, base=under, **params)["w"]

    return run


@pytest.fixture
def gives(merged):
    def check(expected, *arguments, **named):
        torch.testing.assert_close(merged(*arguments, **named), torch.tensor(expected) * 1.0, rtol=0, atol=1e-6)

    return check
