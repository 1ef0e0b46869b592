"""Losses against teachers' rows: by hand, sparse against dense, memory; preference losses; micro-batches."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from consort.train import (
    Recipe,
    distil,
    distil_with_rest,
    dpo,
    entropy,
    fit_steps,
    shuffled,
    surprisal,
)


def test_the_sparse_loss_by_hand():
    z, ids = torch.tensor([[1.0, 2.0, 0.0, -1.0]]), torch.tensor([[1, 0]])
    assert surprisal(z, ids).tolist()[0] == pytest.approx([0.440190, 1.440190], abs=1e-6)
    assert distil(z, ids, torch.tensor([[0.75, 0.25]])).item() == pytest.approx(0.690190, abs=1e-6)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_sparse_is_dense(dtype, near):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(6, 1000, generator=generator, dtype=dtype).requires_grad_()
    ids = torch.stack([torch.randperm(1000, generator=generator)[:10] for _ in range(6)])
    p = torch.rand(6, 10, generator=generator, dtype=dtype).softmax(-1)
    dense = torch.zeros(6, 1000, dtype=dtype).scatter_(1, ids, p)
    wanted = -(dense * z.log_softmax(-1)).sum(-1)
    (slope,) = torch.autograd.grad(wanted.mean(), z)
    found = distil(z, ids, p)
    (ours,) = torch.autograd.grad(found.mean(), z)
    assert (found - wanted).abs().max() <= near * 10
    assert (ours - slope).abs().max() <= near


def test_half_precision_logits_get_a_float32_loss_and_their_own_gradient():
    z = torch.randn(2, 50, generator=torch.Generator().manual_seed(1)).bfloat16().requires_grad_()
    found = surprisal(z, torch.tensor([[1], [2]]))
    found.sum().backward()
    assert found.dtype == torch.float32
    assert z.grad is not None
    assert z.grad.dtype == torch.bfloat16


class Largest(TorchDispatchMode):
    """Counts tensors that are made with at least so many entries."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.places = size, set()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for one in result if isinstance(result, tuple | list) else [result]:
            if isinstance(one, torch.Tensor) and one.numel() >= self.size:
                self.places.add(one.untyped_storage().data_ptr())
        return result


def test_nothing_of_the_logits_size_is_made_but_their_gradient():
    z = torch.randn(64, 5000).requires_grad_()
    ids, p = torch.zeros(64, 10, dtype=torch.long), torch.full((64, 10), 0.1)
    with Largest(64 * 5000) as forward:
        loss = distil(z, ids, p).mean()
    assert len(forward.places - {z.untyped_storage().data_ptr()}) <= 1  # inside logsumexp, gone when it returns
    with Largest(64 * 5000) as backward:
        loss.backward()
    assert len(backward.places - {z.untyped_storage().data_ptr()}) <= 2


def test_a_class_for_the_rest():
    z = torch.tensor([[1.0, 2.0, 0.0, -1.0]])
    q = z.softmax(-1)[0]
    wanted = -(0.5 * q[1].log() + 0.2 * q[0].log() + 0.3 * (q[2] + q[3]).log())
    found = distil_with_rest(z, torch.tensor([[1, 0, 0]]), torch.tensor([[0.5, 0.2, 0.0]]), torch.tensor([0.3]))
    assert found.item() == pytest.approx(wanted.item(), abs=1e-6)


def test_the_divergence_from_itself_is_zero():
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
    ids, p = torch.arange(8).repeat(3, 1), z.softmax(-1)
    assert (distil(z, ids, p) - entropy(p)).abs().max() < 1e-6


def test_length_normalised_preferences_by_hand():
    r_w, r_l = torch.tensor([4.0]), torch.tensor([1.0])
    lengths = {"chosen_length": torch.tensor([20]), "rejected_length": torch.tensor([10])}
    assert dpo(r_w, r_l, beta=10, **lengths).item() == pytest.approx(0.313262, abs=1e-6)
    assert dpo(r_w, r_l, beta=0.1).item() == pytest.approx(0.554355, abs=1e-6)


def test_a_batch_in_parts_is_the_batch():
    """Two parts whose losses sum to the whole's give the whole's step and a curve of both terms."""

    def line() -> nn.Linear:
        model = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            model.weight.fill_(1.0)
        return model

    def loss(model, x):
        return torch.stack([model(x).sum(), 2 * model(x).sum()])

    one, other, recipe = line(), line(), Recipe(steps=3, lr=0.1, optimizer="sgd")
    x = torch.tensor([[1.0], [2.0]])
    whole = fit_steps(one, lambda step: [x], loss, recipe, label="x")
    cut = fit_steps(other, lambda step: [x[:1], x[1:]], loss, recipe, label="x")
    assert one.weight.equal(other.weight)
    assert [sum(terms) for terms in whole] == pytest.approx([sum(terms) for terms in cut])
    assert whole[0] == (3.0, 6.0)


def test_every_epoch_reads_each_once():
    order = shuffled(5, 2, seed=1)
    seen = [i for step in range(5) for i in order(step)]
    assert sorted(seen[:5]) == sorted(seen[5:]) == list(range(5))
    assert seen[:5] != seen[5:]
    assert shuffled(5, 2, seed=1)(3) == order(3)
