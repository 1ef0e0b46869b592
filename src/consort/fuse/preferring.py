"""Direct preference optimisation of a student against itself (2305.18290), by length as FuseChat-3.0 (2503.04222)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.core.errors import BadData
from consort.core.journal import key_of
from consort.core.progress import Advance
from consort.distil.corpus import Document
from consort.fuse.options import Preferring, Training
from consort.fuse.preference import Preference
from consort.fuse.training import Progress, recipe_of, state_of, student_of, told_or_diverged, write_student
from consort.models.base import Tokenizer
from consort.models.hf.quiet import quiet
from consort.train.loop import Recipe, fit_steps, shuffled
from consort.train.losses import dpo, surprisal
from consort.weights.checkpoint import Checkpoint

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
    part: int = 8,
    seed: int = 0,
    state: Path | None = None,
    every: int = 100,
    progress: Callable[[int], None] = lambda done: None,
) -> list[tuple[float, ...]]:
    """Train `model` in place by DPO against itself as it is now; returns the learning curve.

    The reference's log-probabilities are computed once, before the first step, from the weights given; a resumed run
    must be given these again. `normalised` divides each log-ratio by its answer's number of tokens. A step's `batch`
    goes through the model in parts of at most `part` pairs. Raises BadData where there are no pairs.
    """
    if not pairs:
        raise BadData("there are no pairs to learn from", field="pairs", hint="widen gap, or sample more answers")
    texts = [(read(pair.chosen, tokenizer), read(pair.rejected, tokenizer)) for pair in pairs]
    loss = _loss(model, texts, beta, normalised, batch)
    order = shuffled(len(pairs), batch, f"{seed}:prefer")

    def parts(step: int) -> list[list[int]]:
        numbers = order(step)
        return [numbers[i : i + part] for i in range(0, len(numbers), part)]

    inputs = [str(recipe), beta, normalised, batch, seed, [(p.chosen.key, p.rejected.key) for p in pairs]]
    with quiet():
        return fit_steps(
            model,
            parts,
            loss,
            recipe,
            label=key_of(inputs),
            state=state,
            every=every,
            progress=told_or_diverged(progress, state, "prefer.lr"),
        )


def _loss(
    model: nn.Module, texts: Sequence[tuple[Read, Read]], beta: float, normalised: bool, batch: int
) -> Callable[[nn.Module, Sequence[int]], Tensor]:
    """The loss of some pairs, by number, as a part of a step's mean over `batch` of them."""
    model.eval()
    with torch.no_grad(), quiet():
        reference = [logprobs(model, pair) for pair in texts]
    sizes = torch.tensor([[len(places) for _, places in pair] for pair in texts])

    def loss(module: nn.Module, numbers: Sequence[int]) -> Tensor:
        own = logprobs(module, [texts[i][0] for i in numbers] + [texts[i][1] for i in numbers])
        known = torch.stack([reference[i] for i in numbers]).to(own.device)
        ratio = own.view(2, -1).T - known
        lengths: dict[str, Any] = {}
        if normalised:
            won, lost = sizes[list(numbers)].to(own.device).T
            lengths = {"chosen_length": won, "rejected_length": lost}
        return dpo(ratio[:, 0], ratio[:, 1], beta=beta, **lengths) * (len(numbers) / batch)

    return loss


def train_preferred(
    student: Checkpoint,
    pairs: Sequence[Preference],
    out: Path,
    options: Preferring,
    weights: Training,
    *,
    seed: int = 0,
    plan: Any = None,
    advance: Advance = lambda amount: None,
) -> list[tuple[float, ...]]:
    """DPO of a copy of `student`, written to the folder `out`; returns the learning curve.

    `weights.rank` and `weights.alpha` say what of it is trained, as in `train`. The state of an unfinished run lies
    beside `out`.
    """
    model, lora = student_of(student, weights, seed)
    state = state_of(out)
    curve = prefer(
        model.module,
        model.tokenizer,
        pairs,
        recipe_of(options, len(pairs)),
        beta=options.beta,
        normalised=options.normalised,
        batch=options.batch,
        part=options.part,
        seed=seed,
        state=state,
        every=options.save_every,
        progress=Progress(advance),
    )
    write_student(model, student, lora, out, curve, ["preference"], seed=seed, plan=plan)
    state.unlink(missing_ok=True)
    return curve
