"""The merge through which gradients flow: equal to task arithmetic, and to autograd over plain tensors."""

from __future__ import annotations

import pytest
import torch

import consort as c
from consort.core.errors import Incompatible
from consort.merge.trained.weighing import Coefficients, Deltas, weighed


def test_it_is_task_arithmetic(pair):
    rows = [torch.tensor([0.3, 0.3])] * len(pair.deltas.names)
    for name, tensor in weighed(pair.deltas, rows).items():
        torch.testing.assert_close(tensor, pair.merged[name].float(), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("kept_bytes", [0, 1 << 30])
def test_gradients_are_those_of_autograd(pair, kept_bytes):
    deltas = Deltas(pair.models, pair.base, kept_bytes)
    name = deltas.names[3]
    model = Coefficients(torch.tensor([[0.2, 0.5]]))
    target = torch.ones(deltas.models[0].spec(name).shape)
    rows = [model.row(i) for i in range(len(deltas.names))]
    (weighed(deltas, rows)[name] * target).square().sum().backward()
    own = torch.tensor([0.2, 0.5], requires_grad=True)
    (deltas.of_base(name) + own[0] * deltas(0, name) + own[1] * deltas(1, name)).square().sum().backward()
    torch.testing.assert_close(model.amounts.grad[0], own.grad, rtol=1e-4, atol=1e-5)


def test_models_of_another_shape_are_refused(pair):
    with pytest.raises(Incompatible, match="differ from mirror"):
        Deltas([pair.models[0], c.load("lab:draft")], None)
