"""Jensen-Shannon divergence of several models' next-token distributions along given answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consort.cooperate.detect.white.reading import MAX_LOGITS, Read, ends_of
from consort.core.types import Usage, add_cost


def divergences(
    models: Sequence[Any], contexts: Sequence[str], answers: Sequence[str]
) -> tuple[list[Read], list[list[float]], Mapping[str, Usage]]:
    """Of each answer's tokens the divergence (nats, at most log n) of n models with one vocabulary; what reading cost.

    H(mean of the distributions) - mean of their entropies.
    """
    import torch

    from consort.models.decoding.decode import check_window
    from consort.models.decoding.score import split_pair

    reads, values, costs = [], [], []
    tokenizer = models[0].tokenizer
    for number, (context, answer) in enumerate(zip(contexts, answers, strict=True)):
        head, tail = split_pair(tokenizer, context, answer, field=f"case {number + 1}")
        row = [*head, *tail]
        for model in models:
            check_window(model, len(row) - 1, f"case {number + 1}", row[:-1])
        sessions, found = [model.open(1) for model in models], []
        size = max(1, MAX_LOGITS // (tokenizer.vocab_size * len(models)))
        for at in range(0, len(row) - 1, size):
            p = torch.stack(
                [s.feed([row[at : min(at + size, len(row) - 1)]])[0].double().softmax(-1).cpu() for s in sessions]
            )
            gap = _entropy(p.mean(0)) - _entropy(p).mean(0)
            found += gap.clamp(min=0).tolist()
        own = found[len(head) - 1 :]
        reads.append(Read((0.0,) * len(own), (), ends_of(tokenizer, tail, len(answer))))
        values.append(own)
        costs += [cost for s in sessions for cost in s.spent()]
    return reads, values, add_cost(*costs)


def _entropy(p: Any) -> Any:
    return -(p * p.clamp(min=1e-300).log()).sum(-1)
