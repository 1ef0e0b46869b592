"""From prompts and completions to cases, with what a detector needs of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from consort.core.types import Completion, Prompt, Sampling, Usage, add_cost
from consort.models.cost import cost_of
from consort.models.detecting import Case
from consort.models.tokens.chats import plain_chat

STEP = 7919
"""What the seeds of samples are apart."""


def case_of(prompt: Prompt, answer: Completion, source: str = "") -> Case:
    """An answer as a case; its source is the evidence that its model told of (`details["evidence"]`), or `source`."""
    text = prompt if isinstance(prompt, str) else plain_chat(prompt)
    logprobs = answer.details.get("logprobs")
    evidence = answer.details.get("evidence") or ()
    told = "\n\n".join(
        str(getattr(one, "text", None) or (one.get("text", "") if isinstance(one, Mapping) else one))
        for one in evidence
    )
    return Case(
        answer.text,
        text,
        source or told or text,
        logprobs=None if logprobs is None else tuple(map(float, logprobs)),
        details=answer.details,
    )


def with_samples(
    models: Sequence[Any], prompts: Sequence[Prompt], cases: Sequence[Case], sampling: Sampling,
    *, samples: int, temperature: float,
) -> tuple[list[Case], list[Mapping[str, Usage]]]:  # fmt: skip
    """The cases with `samples` answers of each of the models, and what each case's cost.

    A sample depends on the seed, its number and its prompt alone, never on the batch.
    """
    found: list[list[Completion]] = [[] for _ in prompts]
    costs: list[dict[str, Usage]] = [{} for _ in prompts]
    for model in models:
        for number in range(1, samples + 1):
            seeds = tuple(
                (sampling.seeds[i] if sampling.seeds else sampling.seed) + STEP * number for i in range(len(prompts))
            )
            warm = replace(sampling, seeds=seeds, temperature=sampling.temperature or temperature)
            for i, one in enumerate(model.generate(list(prompts), warm)):
                found[i].append(one)
                costs[i] = add_cost(costs[i], cost_of(model, one))
    made = []
    for case, answers in zip(cases, found, strict=True):
        logs = [one.details.get("logprobs") for one in answers]
        known = all(row is not None for row in logs)
        rows = tuple(tuple(map(float, row)) for row in logs if row is not None) if known else None
        made.append(replace(case, samples=tuple(one.text for one in answers), sample_logprobs=rows))
    return made, list(costs)
