"""Which tokens of a draft stand, and what comes after them: the rejection rules, as pure functions.

Chains: Leviathan, Kalman and Matias (2211.17192, algorithm 1), Chen et al. (2302.01318). Trees: recursive rejection
without replacement (SpecInfer 2305.09781, algorithm 2). Two lossy rules: typical acceptance (Medusa 2401.10774) and
verification against a mixture (DIVERSE 2604.07622).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.drafters.draft import Draft
from consort.core.errors import BadParameter
from consort.models.decoding.sampling import draw

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


def emitted_by(draft: Draft, verdict: Verdict) -> list[int]:
    """The draft's tokens that stand, and the one after them."""
    return [*(draft.tokens[node] for node in verdict.path), verdict.token]


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
    return drawn_chains(p, [draft], [numbers])[0]


def drawn_chains(p: Float[Tensor, "next vocab"], drafts: Sequence[Draft], numbers: Sequence[Numbers]) -> list[Verdict]:
    """`drawn_chain` of many drafts at once; their distributions lie in `p` one below the other."""
    starts = list(accumulate((len(draft) + 1 for draft in drafts), initial=0))
    ratios = _ratios(p, drafts, starts)
    found: dict[int, Verdict] = {}
    at, testing = [0] * len(drafts), list(range(len(drafts)))
    while testing:
        for row in testing:
            at[row] = _first_refused(ratios[row], at[row], numbers[row])
        refused = [row for row in testing if at[row] < len(drafts[row])]
        left = _residuals(p, drafts, [(row, starts[row], at[row]) for row in refused])
        some = left.sum(-1) > 0
        testing = [row for row, any_left in zip(refused, some.tolist(), strict=True) if not any_left]
        refused = [row for row in refused if row not in testing]
        for row, token in zip(
            refused, _picked(left[some], [numbers[r]("residual", at[r], 0) for r in refused]), strict=True
        ):
            found[row] = Verdict(tuple(range(at[row])), token, at[row] + 1)
        for row in testing:  # p == q up to rounding, and the token stands
            at[row] += 1
    whole = [row for row in range(len(drafts)) if row not in found]
    ends = p[[starts[row] + at[row] for row in whole]]
    for row, token in zip(whole, _picked(ends, [numbers[r]("plain", at[r], 0) for r in whole]), strict=True):
        found[row] = Verdict(tuple(range(at[row])), token, at[row])
    return [found[row] for row in range(len(drafts))]


def _ratios(p: Float[Tensor, "next vocab"], drafts: Sequence[Draft], starts: Sequence[int]) -> list[list[float]]:
    """p(x) / q(x) of each token of each draft."""
    tokens = torch.tensor([token for draft in drafts for token in draft.tokens], dtype=torch.long, device=p.device)
    rows = [start + i for draft, start in zip(drafts, starts, strict=False) for i in range(len(draft))]
    parts = zip(
        [draft for draft in drafts if len(draft)], torch.split(tokens, [len(d) for d in drafts if len(d)]), strict=True
    )
    q = [_drawn(draft).gather(1, own.unsqueeze(1)).squeeze(1) for draft, own in parts]
    ratios = iter((p[rows, tokens] / torch.cat(q)).tolist() if q else ())
    return [[next(ratios) for _ in draft.tokens] for draft in drafts]


def _residuals(
    p: Float[Tensor, "next vocab"], drafts: Sequence[Draft], places: Sequence[tuple[int, int, int]]
) -> Float[Tensor, "place vocab"]:
    """max(0, p - q) where a row, whose distributions start at a place of `p`, refused a token of its draft."""
    if not places:
        return p[:0].double()
    q = torch.stack([_drawn(drafts[row])[at] for row, _, at in places])
    return (p[[start + at for _, start, at in places]].double() - q.double()).clamp_min(0)


def _picked(weights: Float[Tensor, "row vocab"], chances: Sequence[float]) -> list[int]:
    return draw(weights, chances).tolist() if len(chances) else []


def _first_refused(ratios: Sequence[float], at: int, numbers: Numbers) -> int:
    """The place of the first token from `at` on that does not stand; the length of the draft if all do."""
    return next((i for i in range(at, len(ratios)) if numbers("accept", i, 0) >= ratios[i]), len(ratios))


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
