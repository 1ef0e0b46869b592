"""Fusion by preference (FuseChat-3.0, 2503.04222): sources answer, a reward scores, the student learns what won.

No logits are needed, so a source may be any language model. The best answer of all is learnt first (SFT); then pairs
of the best and the worst answer of one source (DPO, `fuse/preferring.py`), whose scores differ by `gap`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.errors import BadData
from consort.core.journal import Journal, key_of
from consort.core.progress import Advance
from consort.core.types import Prompt, Sampling
from consort.distil.corpus import Document, answered, continued
from consort.fuse.options import Asking
from consort.models.base import LanguageModel

Reward = Callable[[int, str], float]
"""The number of a prompt and an answer to how good it is; larger is better. Right or wrong is 1 or 0."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one source to one prompt, and its reward. `whole` tells that it was not cut at `max_tokens`."""

    prompt: int
    source: str
    text: str
    score: float = 0.0
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Preference:
    """Two documents of one prompt, of which the first is better."""

    chosen: Document
    rejected: Document


def sample(
    source: str,
    model: Callable[[], LanguageModel],
    prompts: Sequence[Prompt],
    folder: Path,
    options: Asking,
    *,
    stamp: str = "",
    seed: int = 0,
    advance: Advance = lambda amount: None,
) -> list[Answer]:
    """`options.each` answers of a source to every prompt, journalled in `folder`, so a killed run goes on.

    `model` is asked for only if something is missing; `stamp` identifies it. `advance` gets the number of
    answers. Raises OutputExists for a folder of something else.
    """
    inputs = [source, stamp, [str(prompt) for prompt in prompts], str(options), seed]
    journal = Journal(folder, key_of(inputs), sound=_is_drawn, ordered=True)
    done = journal.open()
    starts = [(turn, at) for turn in range(options.each) for at in range(0, len(prompts), options.shard)]
    advance(sum(len(record["answers"]) for record in done))
    at_work = model() if len(done) < len(starts) else None
    for turn, at in starts[len(done) :]:
        done.append(_drawn(at_work, prompts[at : at + options.shard], options, seed * options.each + turn))
        journal.append(done[-1])
        advance(len(done[-1]["answers"]))
    return [
        Answer(at + i, source, text, whole=whole)
        for (_, at), record in zip(starts, done, strict=True)
        for i, (text, whole) in enumerate(zip(record["answers"], record["whole"], strict=True))
    ]


def _drawn(model: Any, prompts: Sequence[Prompt], options: Asking, seed: int) -> dict[str, Any]:
    """One answer to each prompt, as the journal keeps it."""
    sampling = Sampling(options.max_tokens, options.temperature, options.top_p, stop=tuple(options.stop), seed=seed)
    completions = model.generate(prompts, sampling)
    return {"answers": [c.text for c in completions], "whole": [c.finish_reason != "length" for c in completions]}


def _is_drawn(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("answers"), list) and isinstance(record.get("whole"), list)


def scored(
    answers: Sequence[Answer],
    reward: Reward,
    folder: Path,
    *,
    key: str,
    shard: int = 256,
    advance: Advance = lambda amount: None,
) -> list[Answer]:
    """The answers with their rewards, journalled in `folder`; `key` tells the reward and the answers from others.

    An equal answer to the same prompt is judged once a shard. Raises BadData for a reward that is no number.
    """
    journal = Journal(
        folder, key_of([key, shard]), sound=lambda record: isinstance(record.get("scores"), list), ordered=True
    )
    done = journal.open()
    advance(sum(len(record["scores"]) for record in done))
    for at in range(len(done) * shard, len(answers), shard):
        known: dict[tuple[int, str], float] = {}
        part = answers[at : at + shard]
        for answer in part:
            if (answer.prompt, answer.text) not in known:
                known[answer.prompt, answer.text] = _finite(reward(answer.prompt, answer.text), answer)
        done.append({"scores": [known[answer.prompt, answer.text] for answer in part]})
        journal.append(done[-1])
        advance(len(part))
    scores = [score for record in done for score in record["scores"]]
    return [replace(answer, score=score) for answer, score in zip(answers, scores, strict=True)]


def _finite(score: float, answer: Answer) -> float:
    if not math.isfinite(score):
        what = f"is {score} for an answer of {answer.source} to prompt {answer.prompt + 1}"
        raise BadData(what, field="reward", hint="look for NaN in the reward model's weights")
    return score


def best_answers(
    answers: Sequence[Answer], prompts: Sequence[str], *, least: float = -math.inf, separator: str = " "
) -> dict[int, tuple[Answer, Document]]:
    """The best answer to each prompt (its text as the pivot reads it), with the document of which it is learnt.

    A prompt of which the best is below `least` has none; of equal answers the first is taken. Raises BadData where
    no answer is good enough.
    """
    best: dict[int, Answer] = {}
    for answer in answers:
        if answer.text.strip() and (answer.prompt not in best or answer.score > best[answer.prompt].score):
            best[answer.prompt] = answer
    kept = {i: best[i] for i in sorted(best) if best[i].score >= least}
    if not kept:
        raise BadData("no answer is good enough to learn from", field="prefer.least", hint="lower it, or add sources")
    return {i: (answer, _document(answer, prompts, separator)) for i, answer in kept.items()}


def preferences(
    answers: Sequence[Answer],
    prompts: Sequence[str],
    *,
    gap: tuple[float, float] = (0.01, 0.1),
    separator: str = " ",
) -> list[Preference]:
    """Best and worst answer of the same source to each prompt, if their scores differ by `gap` (a closed interval).

    Answers of one source differ in what they say and not in its style. A prompt gives the pair of the best winner.
    """
    own: dict[tuple[int, str], list[Answer]] = {}
    for answer in answers:
        if answer.text.strip():
            own.setdefault((answer.prompt, answer.source), []).append(answer)
    pairs: dict[int, tuple[Answer, Answer]] = {}
    for (prompt, _), group in own.items():
        winner, loser = max(group, key=lambda a: a.score), min(group, key=lambda a: a.score)
        fits = gap[0] <= winner.score - loser.score <= gap[1]
        if fits and (prompt not in pairs or winner.score > pairs[prompt][0].score):
            pairs[prompt] = winner, loser
    return [
        Preference(_document(winner, prompts, separator), _document(loser, prompts, separator))
        for _, (winner, loser) in sorted(pairs.items())
    ]


def _document(answer: Answer, prompts: Sequence[str], separator: str) -> Document:
    """The answer after its prompt; where it was cut, its end is not learnt."""
    head = prompts[answer.prompt]
    return replace(answered(head, continued(head, answer.text, separator)), whole=answer.whole)
