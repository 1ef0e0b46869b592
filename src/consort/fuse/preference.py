"""Fusion by preference (FuseChat-3.0, 2503.04222): sources answer, a reward scores, the student learns what won.

No logits are needed, so a source may be any language model. The best answer of all is learnt first (SFT); then pairs
of the best and the worst answer of one source (DPO with length normalisation), whose scores differ by `gap`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.core.errors import BadData, BadParameter
from consort.core.journal import Journal, key_of
from consort.core.types import Prompt, Sampling
from consort.fuse.corpus import Document, answered
from consort.models.base import LanguageModel, Tokenizer
from consort.models.quiet import quiet
from consort.train.loop import Recipe, fit_steps, shuffled
from consort.train.losses import dpo, surprisal

Reward = Callable[[Prompt, str], float]
"""How good an answer is; larger is better. Right or wrong is 1 or 0."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one source to one prompt, and its reward."""

    prompt: int
    source: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Preference:
    """Two documents of one prompt, of which the first is better."""

    chosen: Document
    rejected: Document


def sample(
    sources: Mapping[str, LanguageModel],
    prompts: Sequence[Prompt],
    reward: Reward,
    folder: Path,
    *,
    each: int = 5,
    sampling: Sampling = Sampling(temperature=0.8),
) -> list[Answer]:
    """`each` answers of every source to every prompt, scored; journalled in `folder`, so a killed run goes on.

    Raises BadParameter where one answer cannot differ from another (temperature 0).
    """
    if each > 1 and sampling.temperature == 0:
        hint = "draw at a temperature above 0, or take one answer"
        raise BadParameter("all answers would be the same", field="temperature", hint=hint)
    journal = Journal(folder, key_of([list(sources), [str(p) for p in prompts], each, str(sampling)]))
    done = journal.open()
    turns = [(name, turn) for name in sources for turn in range(each)]
    for name, turn in turns[len(done) :]:
        drawn = replace(sampling, seed=sampling.seed + turn)
        texts = [completion.text for completion in sources[name].generate(prompts, drawn)]
        scores = [reward(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        done.append({"source": name, "answers": texts, "scores": scores})
        journal.append(done[-1])
    return [
        Answer(i, record["source"], text, score)
        for record in done
        for i, (text, score) in enumerate(zip(record["answers"], record["scores"], strict=True))
    ]


def best_answers(answers: Sequence[Answer], prompts: Sequence[str], *, least: float = 0.0) -> list[Document]:
    """The best answer to each prompt, as a document of which it is learnt; none where the best is below `least`.

    Of equal ones the first.
    """
    best: dict[int, Answer] = {}
    for answer in answers:
        if answer.text and (answer.prompt not in best or answer.score > best[answer.prompt].score):
            best[answer.prompt] = answer
    kept = [best[i] for i in sorted(best) if best[i].score >= least]
    if not kept:
        raise BadData("no answer is good enough to learn from", field="least", hint="lower it, or add sources")
    return [answered(prompts[answer.prompt], answer.text) for answer in kept]


def preferences(
    answers: Sequence[Answer], prompts: Sequence[str], *, gap: tuple[float, float] = (0.01, 0.1)
) -> list[Preference]:
    """Best and worst answer of the same source to each prompt, if their scores differ by `gap` (a closed interval).

    Answers of one source differ in what they say and not in its style. A prompt gives the pair of the best winner.
    """
    own: dict[tuple[int, str], list[Answer]] = {}
    for answer in answers:
        if answer.text:
            own.setdefault((answer.prompt, answer.source), []).append(answer)
    pairs: dict[int, tuple[Answer, Answer]] = {}
    for (prompt, _), group in own.items():
        winner, loser = max(group, key=lambda a: a.score), min(group, key=lambda a: a.score)
        fits = gap[0] <= winner.score - loser.score <= gap[1]
        if fits and (prompt not in pairs or winner.score > pairs[prompt][0].score):
            pairs[prompt] = winner, loser
    return [
        Preference(answered(prompts[i], winner.text), answered(prompts[i], loser.text))
        for i, (winner, loser) in sorted(pairs.items())
    ]


Read = tuple[Int[Tensor, " token"], Int[Tensor, " learnt"]]
"""Token ids of a document, and the positions of the tokens that are learnt."""


def read(document: Document, tokenizer: Tokenizer) -> Read:
    """A document as the loss wants it."""
    spelled = document.spelled(tokenizer)
    inside = [any(a < end <= b for a, b in document.learnt()) for end in spelled.ends.tolist()]
    places = [i for i, learnt in enumerate(inside) if learnt and i]
    return torch.from_numpy(spelled.ids), torch.tensor(places, dtype=torch.long)


def logprobs(model: nn.Module, batch: Sequence[Read]) -> Float[Tensor, " document"]:
    """Summed log-probability (nats) of what is learnt of each document."""
    width = max(len(ids) for ids, _ in batch)
    tokens = torch.stack([nn.functional.pad(ids, (0, width - len(ids))) for ids, _ in batch])
    tokens = tokens.to(next(model.parameters()).device)
    logits = model(input_ids=tokens, use_cache=False).logits
    found = surprisal(logits[:, :-1].flatten(0, 1), tokens[:, 1:].reshape(-1, 1)).view(len(batch), width - 1)
    return torch.stack([-found[row, places - 1].sum() for row, (_, places) in enumerate(batch)])


def prefer(
    model: nn.Module,
    tokenizer: Tokenizer,
    pairs: Sequence[Preference],
    recipe: Recipe,
    *,
    beta: float = 10.0,
    normalised: bool = True,
    batch: int = 32,
    seed: int = 0,
    state: Path | None = None,
) -> list[tuple[float, ...]]:
    """Train `model` in place by DPO against itself as it is now; returns the learning curve.

    The reference's log-probabilities are computed once, before the first step, from the weights given; a resumed run
    must be given these again. `normalised` divides each log-ratio by its answer's number of tokens.
    """
    if not pairs:
        raise BadData("there are no pairs to learn from", field="pairs", hint="widen gap, or sample more answers")
    texts = [(read(pair.chosen, tokenizer), read(pair.rejected, tokenizer)) for pair in pairs]
    model.eval()
    with torch.no_grad(), quiet():
        reference = [logprobs(model, pair) for pair in texts]
    order = shuffled(len(pairs), batch, f"{seed}:prefer")

    def loss(module: nn.Module, numbers: Sequence[int]) -> Tensor:
        own = logprobs(module, [texts[i][0] for i in numbers] + [texts[i][1] for i in numbers])
        wins, losses = own[: len(numbers)], own[len(numbers) :]
        known = torch.stack([reference[i] for i in numbers]).to(own.device)
        lengths: dict[str, Any] = {}
        if normalised:
            sizes = [[len(texts[i][side][1]) for i in numbers] for side in (0, 1)]
            lengths = {
                "chosen_length": torch.tensor(sizes[0], device=own.device),
                "rejected_length": torch.tensor(sizes[1], device=own.device),
            }
        return dpo(wins - known[:, 0], losses - known[:, 1], beta=beta, **lengths)

    told = [str(recipe), beta, normalised, batch, seed, [(p.chosen.key, p.rejected.key) for p in pairs]]
    with quiet():
        return fit_steps(model, lambda step: [order(step)], loss, recipe, label=key_of(told), state=state)
