"""Whole tensors of several adapters over one base, as the base plus the weighted sum of their differences from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from consort.core.errors import BadParameter, Incompatible
from consort.merge.adapters.computed import Part
from consort.weights.checkpoint import Checkpoint, round_into

EXACT = 1e-9
"""A base whose coefficient is smaller is not read."""


def combined(
    name: str, having: Sequence[tuple[Checkpoint, str, float]], base: Checkpoint | None, *, copy: bool
) -> Part:
    """W + sum_i w_i (M_i - W), for the adapters that have the tensor, each with its own name of it and its weight.

    `copy`: the tensors are copies of the base's W beside factors, which must be equal. Raises BadParameter where the
    base is needed and not given.
    """
    first, key, _ = having[0]
    spec = first.spec(key)
    if copy:
        return Part(spec, lambda start, stop, out: _read_equal(name, having, start, stop, out))
    terms = list(having)
    of_base = 1 - sum(weight for _, _, weight in having)
    if abs(of_base) > EXACT:
        if base is None:
            hint = "give `base: MODEL`, or weights that sum to 1 over the adapters that have the tensor"
            raise BadParameter(f"is needed to add up {name}, which adapters replace", field="base", hint=hint)
        terms.append((base, name, of_base))
    return Part(spec, lambda start, stop, out: _read_sum(terms, start, stop, out))


def _read_sum(terms: Sequence[tuple[Checkpoint, str, float]], start: int, stop: int, out: Tensor) -> None:
    total = torch.zeros(stop - start, dtype=torch.float64)
    term = torch.empty(stop - start, dtype=torch.float64)
    for model, name, weight in terms:
        model.read_into(name, start, stop, term)
        total.add_(term, alpha=weight)
    round_into(total, out)


def _read_equal(name: str, having: Sequence[tuple[Checkpoint, str, float]], start: int, stop: int, out: Tensor) -> None:
    (first, key, _), *others = having
    first.read_into(key, start, stop, out)
    other = torch.empty_like(out)
    for model, there, _ in others:
        model.read_into(there, start, stop, other)
        if not torch.equal(out, other):
            hint = "adapters add up over one base only"
            raise Incompatible(f"{first.name} and {model.name} are over different bases", field=name, hint=hint)
