"""What LLMLingua and LongLLMLingua share: tokens or words of several parts, each with its own share of the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from consort.cooperate.compress.allocation import whole_budgets
from consort.cooperate.compress.compressor import Job
from consort.cooperate.compress.parts import Compression
from consort.cooperate.compress.segments import Stretch, judge
from consort.cooperate.compress.selecting import Scored, select
from consort.cooperate.compress.surprisal import owners, read, token_spans
from consort.cooperate.compress.units import words


def prune(
    scorer: Any,
    job: Job,
    order: Sequence[int],
    shares: Sequence[float],
    *,
    unit: Literal["token", "word"],
    size: int,
    question: Sequence[int] | None = None,
) -> list[Compression]:
    """The texts in `order`, each read after what is left of those before it, at its own share of its tokens.

    A text of share 0 is not read. Room that a text leaves goes to the next, so that the whole is as long as it may be.
    """
    found = [read(scorer.tokenizer, job.texts[i]) if shares[i] > 0 else None for i in order]
    units, stretches = [], []
    for i, tokens in zip(order, found, strict=True):
        spans = [] if tokens is None else token_spans(job.texts[i], tokens) if unit == "token" else words(job.texts[i])
        units.append(spans)
        if tokens is not None:
            stretches.append(Stretch(tokens.ids, owners(tokens.ends, spans), len(spans), shares[i]))
    judged = iter(judge(scorer, stretches, size=size, job=job, question=question))
    scored = []
    for i, tokens, spans in zip(order, found, units, strict=True):
        one = None if tokens is None else next(judged)
        scored.append(
            Scored(job.texts[i], spans, [] if one is None else one.scores.tolist(), [] if one is None else one.kept)
        )
    return _within(job, order, scored, shares)


def _within(job: Job, order: Sequence[int], scored: Sequence[Scored], shares: Sequence[float]) -> list[Compression]:
    from consort.cooperate.compress.selecting import compression

    if job.budget.threshold is not None:
        kept = [[score >= job.budget.threshold for score in text.scores] for text in scored]
        return [compression(t, k, job.count, i) for i, t, k in zip(order, scored, kept, strict=True)]
    sizes = [job.sizes[i] for i in order]
    budgets = whole_budgets(sizes, [shares[i] for i in order], job.most or 0)
    done, left = [], 0
    for i, text, own in zip(order, scored, budgets, strict=True):
        (chosen,) = select([text], own + left, job.count)
        done.append(compression(text, chosen, job.count, i))
        left += own - done[-1].tokens_after
    return done


def budgets_of(done: Sequence[Compression]) -> dict[int, int]:
    """How many tokens each part has after compression, by its number."""
    return {one.part: one.tokens_after for one in done}
