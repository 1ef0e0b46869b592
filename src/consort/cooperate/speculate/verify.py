"""Which tokens of a draft stand, and what comes after them: the rejection rules, as pure functions.

Chains: Leviathan, Kalman and Matias (2211.17192, algorithm 1), Chen et al. (2302.01318). Trees: recursive rejection
without replacement (SpecInfer 2305.09781, algorithm 2). Two lossy rules: typical acceptance (Medusa 2401.10774) and
verification against a mixture (DIVERSE 2604.07622).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.draft import Draft
from consort.core.errors import BadParameter
from consort.models.sampling import draw

Lossy = Literal["typical", "ensemble"]

Numbers = Callable[[str, int, int], float]
"""Purpose ("plain", "accept" or "residual"), depth in the draft and child to a number in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`path`: indices of the draft's tokens that stand, in order; `token`: the one emitted after them.

    `tested` counts the positions at which a token was accepted or refused.
    """

    path: tuple[int, ...]
    token: int
    tested: int


def chosen_path(chosen: Sequence[int], draft: Draft) -> Verdict:
    """For tokens that were not drawn: `chosen[i]` is the target's own choice after node i - 1 (0: before the draft).

    A chosen token that is in the draft leads on, another one is emitted. So the text is what plain decoding gives.
    """
    path: list[int] = []
    token, children = chosen[0], _children(draft)
    while (node := children.get((path[-1] if path else -1, token))) is not None:
        path.append(node)
        token = chosen[node + 1]
    at = path[-1] if path else -1
    return Verdict(tuple(path), token, len(path) + any(parent == at for parent, _ in children))


def _children(draft: Draft) -> dict[tuple[int, int], int]:
    """(parent, token) to node."""
    parents = range(-1, len(draft) - 1) if draft.parents is None else draft.parents
    found = {edge: node for node, edge in enumerate(zip(parents, draft.tokens, strict=True))}
    if len(found) < len(draft):
        raise BadParameter(
            "a token occurs twice among the children of one node", field="draft", hint="draw without replacement"
        )
    return found


def drawn_chain(p: Float[Tensor, "next vocab"], draft: Draft, numbers: Numbers) -> Verdict:
    """For a chain of drawn tokens: x is accepted with chance min(1, p(x) / q(x)), else norm(max(0, p - q)) decides.

    `p[i]` is the target's distribution after i tokens of the draft, so it has one row more than there are tokens.
    """
    q = _drawn(draft)
    at = torch.arange(len(draft), device=p.device), torch.tensor(list(draft.tokens), device=p.device)
    ratios = (p[:-1][at] / q[at]).tolist()
    for i, ratio in enumerate(ratios):
        if numbers("accept", i, 0) >= ratio:
            left = (p[i].double() - q[i].double()).clamp_min(0)
            if float(left.sum()) > 0:  # else p == q up to rounding, and the token stands
                return Verdict(tuple(range(i)), _pick(left, numbers("residual", i, 0)), i + 1)
    last = len(draft)
    return Verdict(tuple(range(last)), _pick(p[last], numbers("plain", last, 0)), last)


def drawn_tree(p: Float[Tensor, "next vocab"], draft: Draft, numbers: Numbers) -> Verdict:
    """For children drawn one after the other from q without replacement: recursive rejection.

    Child i is accepted with min(1, r_i(x) / q_i(x)), r_1 = p, q_1 = q; after a refusal
    r_{i+1} = norm(max(0, r_i - q_i)) and q_{i+1} is q_i without x, renormalised. After the last child r decides.
    """
    q, tested = _drawn(draft), 0
    path: list[int] = []
    order: dict[int, list[int]] = {}
    for (parent, _), node in _children(draft).items():
        order.setdefault(parent, []).append(node)
    while True:
        at = path[-1] if path else -1
        rest, found = p[at + 1].double(), None
        tested += at in order
        for child, node in enumerate(order.get(at, ())):
            found, rest = _try_child(
                rest,
                _without(q[node], order[at][:child], draft),
                draft.tokens[node],
                numbers("accept", len(path), child),
            )
            if found:
                path.append(node)
                break
        if not found:
            purpose = "residual" if at in order else "plain"
            return Verdict(tuple(path), _pick(rest, numbers(purpose, len(path), 0)), tested)


def _try_child(
    rest: Float[Tensor, " vocab"], q: Float[Tensor, " vocab"], token: int, chance: float
) -> tuple[bool, Float[Tensor, " vocab"]]:
    left = (rest - q).clamp_min(0)
    total = float(left.sum())
    if total <= 0 or chance < float(rest[token] / q[token]):
        return True, rest
    return False, left / total


def _without(q: Float[Tensor, " vocab"], siblings: Sequence[int], draft: Draft) -> Float[Tensor, " vocab"]:
    left = q.double().clone()
    left[[draft.tokens[node] for node in siblings]] = 0
    return left / left.sum()


def lossy_chain(
    p: Float[Tensor, "next vocab"],
    draft: Draft,
    numbers: Numbers,
    rule: Lossy,
    *,
    epsilon: float = 0.09,
    delta: float = 0.3,
    weight: float = 0.5,
) -> Verdict:
    """A chain by a rule that changes the output.

    typical: x stands if p(x) > min(`epsilon`, `delta` exp(-H(p))). ensemble: x is tested against w p + (1 - w) q,
    `weight` w the target's share; a token that was not drawn has q = 1 there.
    """
    if rule == "ensemble":
        q = draft.q
        if q is None:
            q = torch.zeros_like(p[:-1]).scatter_(
                1, torch.tensor(list(draft.tokens), device=p.device).unsqueeze(1), 1.0
            )
        mixed = torch.cat([weight * p[:-1] + (1 - weight) * q, p[-1:]])
        return drawn_chain(mixed, Draft(draft.tokens, q), numbers)
    entropy = -torch.special.xlogy(p, p).sum(-1)
    least = (delta * (-entropy).exp()).clamp_max(epsilon)
    for i, token in enumerate(draft.tokens):
        if not p[i, token] > least[i]:
            return Verdict(tuple(range(i)), _pick(p[i], numbers("plain", i, 0)), i + 1)
    last = len(draft)
    return Verdict(tuple(range(last)), _pick(p[last], numbers("plain", last, 0)), last)


def _drawn(draft: Draft) -> Float[Tensor, "token vocab"]:
    if draft.q is None:
        raise BadParameter("the draft's distributions are missing", field="draft", hint="give q, or use chosen_path")
    return draft.q


def _pick(weights: Float[Tensor, " vocab"], chance: float) -> int:
    return int(draw(weights.unsqueeze(0), [chance]))
