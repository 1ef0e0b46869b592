"""LoRA factors in a state: which belong together, sums of their products, and how wrong averaged factors are.

A state's product is B A: the clients fold their scale alpha / r into B, so they may differ in both. Products are never
made dense but where a rule says so: a sum of products is the product of stacked factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from consort.core.errors import BadParameter
from consort.federate.averaging import mean
from consort.federate.state import RESIDUAL, State, Update, trained_names

A, B = ".lora_A.weight", ".lora_B.weight"


class Factors(NamedTuple):
    """B (d, r) and A (r, k) in float64."""

    b: Float64[Tensor, "d r"]
    a: Float64[Tensor, "r k"]

    def product(self) -> Float64[Tensor, "d k"]:
        return self.b @ self.a


def modules_of(state: State) -> list[str]:
    """The modules that have both factors, sorted."""
    return sorted(name.removesuffix(A) for name in state if name.endswith(A) and name.removesuffix(A) + B in state)


def needed_modules(state: State, rule: str) -> list[str]:
    """The same; BadParameter where there are none."""
    found = modules_of(state)
    if not found:
        hint = "train LoRA factors, or take another aggregator, such as fedavg"
        raise BadParameter("the state has no LoRA factors", field=rule, hint=hint)
    return found


def other_names(state: State) -> list[str]:
    """Trained names that belong to no pair of factors."""
    pairs = {module + end for module in modules_of(state) for end in (A, B)}
    return [name for name in trained_names(state) if name not in pairs]


def factors_of(state: State, module: str) -> Factors:
    return Factors(state[module + B].double(), state[module + A].double())


def stacked(updates: Sequence[Update], weights: Sequence[float], module: str) -> Factors:
    """Factors of sum a_i B_i A_i, exactly: the B side by side, each times a_i, the A one above the other."""
    each = [factors_of(update.state, module) for update in updates]
    b = torch.cat([w * f.b for w, f in zip(weights, each, strict=True)], dim=1)
    return Factors(b, torch.cat([f.a for f in each]))


def averaged(updates: Sequence[Update], weights: Sequence[float], module: str) -> Factors:
    """The means of the factors; their product is not the mean of the products. Raises BadParameter for mixed ranks."""
    ranks = {tuple(update.state[module + A].shape) for update in updates}
    if len(ranks) > 1:
        hint = "take svd_lora or flora_stack, which need no common rank"
        raise BadParameter("factors of different ranks cannot be averaged", field=module, hint=hint)
    return Factors(mean(updates, weights, module + B), mean(updates, weights, module + A))


def truncated(factors: Factors, rank: int) -> tuple[Factors, float]:
    """The best product of this rank, square roots of its singular values on both sides, and the energy left out.

    By QR of both factors and the singular values of a small core: the product is never made.
    """
    qb, rb = torch.linalg.qr(factors.b)
    qa, ra = torch.linalg.qr(factors.a.T)
    u, s, v = torch.linalg.svd(rb @ ra.T)
    kept = min(rank, len(s))
    root = s[:kept].sqrt()
    b, a = (qb @ u[:, :kept]) * root, (qa @ v[:kept].T * root).T
    signs = torch.where(b.sum(0) < 0, -1.0, 1.0).double()  # a sign that does not depend on the library
    b, a = b * signs, a * signs[:, None]
    if kept < rank:
        b = torch.nn.functional.pad(b, (0, rank - kept))
        a = torch.nn.functional.pad(a, (0, 0, 0, rank - kept))
    whole = float(s.square().sum())
    return Factors(b, a), float(s[kept:].square().sum()) / whole if whole else 0.0


def norm_of(factors: Factors) -> float:
    """The Frobenius norm of the product, without making it."""
    rb = torch.linalg.qr(factors.b).R
    ra = torch.linalg.qr(factors.a.T).R
    return float((rb @ ra.T).norm())


def minus(one: Factors, other: Factors) -> Factors:
    """Factors of the difference of two products."""
    return Factors(torch.cat([one.b, -other.b], 1), torch.cat([one.a, other.a]))


def factor_error(updates: Sequence[Update], weights: Sequence[float]) -> float:
    """How wrong averaged factors are: |mean(B) mean(A) - mean(BA)| / |mean(BA)|, Frobenius, over all modules."""
    apart, whole = 0.0, 0.0
    for module in modules_of(updates[0].state):
        exact = stacked(updates, weights, module)
        apart += norm_of(minus(averaged(updates, weights, module), exact)) ** 2
        whole += norm_of(exact) ** 2
    return (apart / whole) ** 0.5 if whole else 0.0


def with_factors(base: State, module: str, factors: Factors, residual: Tensor | None = None) -> dict[str, Tensor]:
    """The entries of a module: its factors, and what is added to the residual of its frozen weight."""
    kind = base[module + A].dtype
    found = {module + A: factors.a.to(kind), module + B: factors.b.to(kind)}
    if residual is not None:
        old = base.get(module + RESIDUAL)
        found[module + RESIDUAL] = (residual if old is None else old.double() + residual).to(kind)
    return found
