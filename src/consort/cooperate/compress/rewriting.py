"""Texts written anew by a model, each within its share of the budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consort.cooperate.compress.allocation import whole_budgets
from consort.cooperate.compress.compressor import Job
from consort.cooperate.compress.fitted import within
from consort.cooperate.compress.parts import Compression
from consort.core.types import Sampling
from consort.models.cost import cost_of

ASK = "{text}\n\nQuestion: {question}\nSummarise what in the text above helps to answer the question.\nSummary:"


def asked(text: str, question: str) -> str:
    """What a model is asked to write a summary of (RECOMP, 2310.04408)."""
    return ASK.format(text=text.strip(), question=question)


def rewritten(model: Any, job: Job, ask: Callable[[str, int], str], paid: Any = None) -> list[Compression]:
    """Each text as the model answers to `ask(text, tokens)`, cut to so many tokens; an empty answer stays empty.

    The white space that ended a part still ends what is left of it. `paid` is the model under whose name the work
    is counted (None: itself).
    """
    shares = [job.share] * len(job.texts)
    budgets = whole_budgets(job.sizes, shares, sum(job.sizes) if job.most is None else job.most)
    prompts = [ask(text, most) for text, most in zip(job.texts, budgets, strict=True)]
    found = []
    for i, (prompt, most) in enumerate(zip(prompts, budgets, strict=True)):
        text = ""
        if most:
            (answer,) = model.generate([prompt], Sampling(max_tokens=most))
            job.spent += [(paid or model, usage) for usage in cost_of(model, answer).values()]
            text = fitted(answer.text, job.texts[i], most, job)
        found.append(Compression(text, (), job.sizes[i], job.count(text), part=i))
    return found


def fitted(answer: str, original: str, most: int, job: Job) -> str:
    """What a model wrote, within the budget, with the original's ending white space where there is room for it."""
    text = within(answer.strip(), most, job.count)
    ending = original[len(original.rstrip()) :]
    return text + ending if text and job.count(text + ending) <= most else text
