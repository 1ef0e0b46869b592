"""What one pass of a module over texts tells of its weights: Gram matrices of inputs, squared gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.core.progress import Advance


def grams(
    module: Any, linears: dict[str, nn.Linear], rows: Sequence[Int[Tensor, "1 token"]], advance: Advance
) -> dict[str, Float[Tensor, "input input"]]:
    """The mean of x x^T over all tokens for the inputs x of each layer, summed up in float32 on the CPU."""
    sums = {name: torch.zeros(part.in_features, part.in_features) for name, part in linears.items()}
    last: list[Tensor] = []  # the input seen last and its product: query, key and value share theirs

    def hook(total: Tensor) -> Callable[[Any, tuple[Tensor, ...]], None]:
        def take(_: Any, arguments: tuple[Tensor, ...]) -> None:
            if not last or last[0] is not arguments[0]:
                x = arguments[0].detach().flatten(0, -2).float()
                last[:] = [arguments[0], (x.T @ x).cpu()]
            total.add_(last[1])

        return take

    handles = [part.register_forward_pre_hook(hook(sums[name])) for name, part in linears.items()]
    try:
        with torch.no_grad():
            for row in rows:
                module(input_ids=row)
                last.clear()
                advance(1)
    finally:
        for handle in handles:
            handle.remove()
    tokens = sum(row.numel() for row in rows)
    return {name: total.div_(tokens) for name, total in sums.items()}


def fisher(
    module: Any,
    parameters: dict[str, Tensor],
    rows: Sequence[Int[Tensor, "1 token"]],
    drawing: Callable[[int, int], Float[Tensor, "position"]] | None,
    advance: Advance,
) -> dict[str, Tensor]:
    """The mean over positions t of (d log p(y_t | x_<t) / d θ)² (2111.09832, eq. 3).

    `drawing(row, n)` gives n numbers in [0, 1) that decide the draws of labels y; None takes the text's own tokens,
    with a backward pass for each position. For drawn labels one pass for each text is enough: the square of the
    gradient of Σ_t log p has the sum of the positions' own squares as its mean, because draws are independent and each
    gradient has mean zero. That of the text's own tokens has not.
    """
    wanted = list({id(p): p for p in parameters.values()}.values())
    squares = [torch.zeros(p.shape) for p in wanted]
    for parameter in wanted:
        parameter.requires_grad_(True)
    try:
        for number, row in enumerate(rows):
            logs = module(input_ids=row).logits[0, :-1].float().log_softmax(-1)
            labels = row[0, 1:] if drawing is None else drawn(logs.detach(), drawing(number, len(logs)))
            told = logs.gather(1, labels[:, None]).squeeze(1)
            for part in told if drawing is None else [told.sum()]:
                gradients = torch.autograd.grad(part, wanted, allow_unused=True, retain_graph=True)
                for total, gradient in zip(squares, gradients, strict=True):
                    if gradient is not None:
                        total.add_(gradient.float().square().cpu())
            del logs, told  # and what was kept for going back
            advance(1)
    finally:
        for parameter in wanted:
            parameter.requires_grad_(False)
    positions = sum(row.shape[1] - 1 for row in rows)
    of_parameter = {id(p): total.div_(positions) for p, total in zip(wanted, squares, strict=True)}
    return {name: of_parameter[id(p)] for name, p in parameters.items()}


def drawn(logs: Float[Tensor, "position vocab"], numbers: Float[Tensor, "position"]) -> Int[Tensor, "position"]:
    """A token for each position from its log-probabilities: where the cumulated ones pass the number in [0, 1)."""
    cumulated = logs.double().exp().cumsum(-1)
    wanted = numbers.to(cumulated)[:, None] * cumulated[:, -1:]
    return torch.searchsorted(cumulated, wanted, right=True).squeeze(1).clamp_(max=logs.shape[1] - 1)
