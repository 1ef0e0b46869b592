"""Asking the members of a strategy: who fails is passed over and named, who is remote is asked side by side."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, cast

from consort.core.counted import counted
from consort.core.errors import BadParameter, ConsortError, EnvironmentFailure
from consort.core.types import Completion, Prompt, Sampling, Usage
from consort.models.base import LanguageModel
from consort.models.cost import cost_of, distinct, joined, leaves, scored

Outcome = Completion | Exception
"""An answer, or why there is none."""
Job = tuple[LanguageModel, Sequence[Prompt], Sampling]
Pair = tuple[str, str]
"""A context and a continuation."""
ReadingCost = list[tuple[Any, Usage, Mapping[str, Usage]]]
"""Who read, how much, and what that cost by name."""


def ask(model: LanguageModel, prompts: Sequence[Prompt], sampling: Sampling) -> list[Outcome]:
    """An answer to each prompt, or why there is none.

    Where a model refuses a batch, each prompt is asked alone, for the fault may be that of one; where the machine or
    the network fails, the model is left out of the whole batch: that costs one timeout and not many. What is neither (a
    defect) is raised, and so is UnknownAnswer: a cached answer that is not known did not fail, and nobody takes its
    place.
    """
    from consort.models.cached.model import UnknownAnswer

    if not prompts:
        return []
    try:
        return list(model.generate(prompts, sampling))
    except (EnvironmentFailure, OSError) as failure:
        return [failure] * len(prompts)
    except UnknownAnswer:
        raise
    except ConsortError as failure:
        if len(prompts) == 1:
            return [failure]
    return [ask(model, [prompt], sampling.of_rows([i]))[0] for i, prompt in enumerate(prompts)]


def ask_likelihoods(
    model: Any, groups: Sequence[Sequence[Pair]], reading: ReadingCost
) -> list[Sequence[float] | Exception]:
    """Log-likelihoods (nats) of each group of pairs of context and continuation, or why there are none.

    A group stands or falls as one, for its likelihoods are compared; who is asked again is as in `ask`. What was read
    is entered in `reading`.
    """
    if not groups:
        return []
    try:
        found, usage, cost = scored(model, [pair for group in groups for pair in group])
    except (EnvironmentFailure, OSError) as failure:
        return [failure] * len(groups)
    except ConsortError as failure:
        if len(groups) == 1:
            return [failure]
        return [ask_likelihoods(model, [group], reading)[0] for group in groups]
    reading.append((model, usage, cost))
    likelihoods = iter(found)
    return [list(islice(likelihoods, len(group))) for group in groups]


def ask_side_by_side(jobs: Sequence[Job]) -> list[list[Outcome]]:
    """An answer or an error for each prompt of each job; remote models are asked at the same time.

    A sampling's `seeds`, where it has any, are those of its job's prompts.
    """
    waiting = [i for i, (model, prompts, _) in enumerate(jobs) if prompts and _is_remote(model)]
    found: dict[int, list[Outcome]] = {}
    if len(waiting) > 1:
        with ThreadPoolExecutor(max_workers=len(waiting)) as pool:
            found = dict(zip(waiting, pool.map(lambda i: ask(*jobs[i]), waiting), strict=True))
    return [found[i] if i in found else ask(*job) for i, job in enumerate(jobs)]


def streamed(model: Any, prompt: Prompt, sampling: Sampling, cancel: Any = None) -> Generator[str, None, Completion]:
    """Pieces of a model's answer as they come, the whole text as one piece where it has no stream; the completion."""
    own = getattr(model, "stream", None)
    if own is None:
        (answer,) = model.generate([prompt], sampling)
        if answer.text:
            yield answer.text
        return cast(Completion, answer)
    try:
        pieces = own(prompt, sampling, cancel=cancel)
    except TypeError:  # a stream that cannot be called off
        pieces = own(prompt, sampling)
    return cast(Completion, (yield from pieces))


def streamed_or_failed(
    model: Any, prompt: Prompt, sampling: Sampling, cancel: Any = None
) -> Generator[str, None, Outcome]:
    """As `streamed`; what `ask` would give in place of an answer is returned, if no piece has come before it."""
    from consort.models.cached.model import UnknownAnswer

    pieces, begun = streamed(model, prompt, sampling, cancel), False
    try:
        while True:
            piece = next(pieces)
            begun = True
            yield piece
    except StopIteration as end:
        return cast(Completion, end.value)
    except (ConsortError, OSError) as failure:
        if begun or isinstance(failure, UnknownAnswer):
            raise
        return failure
    finally:
        pieces.close()


def _is_remote(model: LanguageModel) -> bool:
    from consort.models.remote.model import RemoteModel
    from consort.models.remote.replicas.model import Replicas

    return all(isinstance(leaf, RemoteModel | Replicas) for leaf in leaves(model))


@dataclass(slots=True)
class Ledger:
    """The account of one prompt, filled while members answer."""

    asked: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    costs: list[tuple[Any, Mapping[str, Usage]]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def enter(self, label: str, model: LanguageModel, outcome: Outcome) -> Completion | None:
        """The answer, entered under the member's label; None where there is none."""
        if label not in self.asked:
            self.asked.append(label)
        if isinstance(outcome, Exception):
            self.failed[label] = outcome.message if isinstance(outcome, ConsortError) else str(outcome)
            self.failures.append(outcome)
            return None
        self.costs.append((model, cost_of(model, outcome)))
        return outcome

    def completion(self, strategy: Any, answer: Completion | None, **details: Any) -> Completion:
        """The answer with the cost of all; `details` has `asked` and, if any, `failed` with reasons.

        Raises the first member's error where there is no answer.
        """
        if answer is None:
            raise self.nobody()
        merged = {**answer.details, "asked": tuple(self.asked), **details}
        if self.failed:
            merged["failed"] = dict(self.failed)
        return replace(answer, cost=joined(strategy, self.costs), details=merged)

    def nobody(self) -> Exception:
        """The error of a prompt that nobody could answer: the first member's."""
        return self.failures[0]


def checked_members(models: Sequence[LanguageModel], least: int = 1) -> tuple[tuple[LanguageModel, ...], list[str]]:
    """The models, and labels that tell them apart. Raises BadParameter for fewer than `least`."""
    if len(models) < least:
        message = "no models" if not models else counted(len(models), "model")
        raise BadParameter(message, field="models", hint=f"give at least {'one' if least == 1 else least}")
    return tuple(models), distinct([m.name for m in models])
