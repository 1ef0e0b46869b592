"""What stands of the drafts of a batch: each is verified by the rule that suits how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.drafters.draft import Draft, branches_of, node_depths
from consort.cooperate.speculate.rounds.pipeline import Pipeline, Prefix, number
from consort.cooperate.speculate.rounds.rows import Row
from consort.cooperate.speculate.rounds.state import Work
from consort.cooperate.speculate.rounds.verify import (
    Numbers,
    Verdict,
    chosen_path,
    drawn_chain,
    drawn_chains,
    drawn_tree,
    emitted_by,
    lossy_chain,
)
from consort.models.decoding.sampling import draw, uniform


def verdicts_of(
    held: Sequence[Row],
    drafts: Sequence[Draft],
    logits: Sequence[Float[Tensor, "new vocab"]],
    pipeline: Pipeline,
    work: Work,
) -> list[Verdict | None]:
    """What stands of each draft; None for rows that are finished. `logits`: the target's, after each row's last token
    and after each token of its draft."""
    running = [(row, draft) for row, draft in zip(held, drafts, strict=True) if not row.finish]
    rows, guesses = [row for row, _ in running], [draft for _, draft in running]
    scores = pipeline.scores(torch.cat(list(logits)), lambda: _prefixes(rows, guesses))
    sizes = [len(block) for block in logits if len(block)]
    if pipeline.greedy and work.lossy is None:
        found = _followed(guesses, scores.argmax(-1).tolist(), sizes)
    else:
        found = _drawn(rows, guesses, pipeline.transformed(scores), sizes, work)
    verdicts = iter(found)
    return [None if row.finish else next(verdicts) for row in held]


def logprobs_of(
    drafts: Sequence[Draft], verdicts: Sequence[Verdict | None], logits: Sequence[Float[Tensor, "new vocab"]]
) -> list[list[float]]:
    """The target's log-probability of each token that a row emits."""
    tokens: list[list[int]] = []
    nodes: list[int] = []
    for start, draft, verdict in zip(accumulate(map(len, logits), initial=0), drafts, verdicts, strict=False):
        tokens.append(emitted_by(draft, verdict) if verdict else [])
        nodes += [start, *(start + 1 + node for node in verdict.path)] if verdict else []
    picked = torch.tensor([token for row in tokens for token in row], device=logits[0].device)
    all_logprobs = torch.cat(list(logits))[nodes].log_softmax(-1)
    values = iter(all_logprobs.gather(-1, picked.unsqueeze(-1)).squeeze(-1).tolist())
    return [[next(values) for _ in row] for row in tokens]


def _followed(drafts: Sequence[Draft], chosen: Sequence[int], sizes: Sequence[int]) -> list[Verdict]:
    """For tokens that were not drawn: what the target chose after each node of all drafts."""
    ends = accumulate(sizes)
    return [chosen_path(chosen[end - size : end], draft) for draft, size, end in zip(drafts, sizes, ends, strict=True)]


def _drawn(
    rows: Sequence[Row], drafts: Sequence[Draft], p: Float[Tensor, "next vocab"], sizes: Sequence[int], work: Work
) -> list[Verdict]:
    if work.lossy is None and all(draft.q is None for draft in drafts):
        return _followed(drafts, draw(p, _plain_numbers(rows, drafts)).tolist(), sizes)
    numbers = [_numbers(row) for row in rows]
    if work.lossy is None and all(map(_is_chain, drafts)):
        return drawn_chains(p, drafts, numbers)
    blocks = zip(rows, drafts, torch.split(p, list(sizes)), numbers, strict=True)
    return [_one(row, draft, block, own, work) for row, draft, block, own in blocks]


def _is_chain(draft: Draft) -> bool:
    return not len(draft) or (draft.q is not None and draft.parents is None)


def _one(row: Row, draft: Draft, p: Float[Tensor, "next vocab"], numbers: Numbers, work: Work) -> Verdict:
    if work.lossy is not None:
        return lossy_chain(p, draft, numbers, work.lossy, weight=work.weight)
    if draft.q is None:
        return chosen_path(draw(p, _plain_numbers([row], [draft])).tolist(), draft)
    return drawn_chain(p, draft, numbers) if draft.parents is None else drawn_tree(p, draft, numbers)


def _numbers(row: Row) -> Numbers:
    def numbers(purpose: str, depth: int, child: int) -> float:
        at = len(row.tokens) + depth
        return uniform(row.key, at) if purpose == "plain" else number(row.key, at, purpose, child)  # type: ignore[arg-type]

    return numbers


def _plain_numbers(rows: Sequence[Row], drafts: Sequence[Draft]) -> list[float]:
    """What plain decoding would draw with, after each node of each draft."""
    return [
        uniform(row.key, len(row.tokens) + depth)
        for row, draft in zip(rows, drafts, strict=True)
        for depth in node_depths(draft)
    ]


def _prefixes(rows: Sequence[Row], drafts: Sequence[Draft]) -> list[Prefix]:
    return [
        Prefix(row.key, row.prompt, [*row.tokens, *branch])
        for row, draft in zip(rows, drafts, strict=True)
        for branch in [[], *branches_of(draft)]
    ]
