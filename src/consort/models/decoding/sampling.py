"""From logits to a token: one pure function for the distribution, one counter-based draw for each row and position."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from hashlib import blake2b

import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.core.errors import BadParameter, Unsupported
from consort.core.types import Sampling
from consort.models.decoding.grammar import Mask

_BOUNDS: dict[str, tuple[float, float]] = {
    "max_tokens": (0, math.inf),
    "min_tokens": (0, math.inf),
    "temperature": (0, 1e6),
    "top_p": (0, 1),
    "top_k": (0, math.inf),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "repetition_penalty": (0, 1e6),
    "frequency_penalty": (-1e6, 1e6),
    "presence_penalty": (-1e6, 1e6),
}
_POSITIVE = frozenset(("top_p", "typical_p", "repetition_penalty"))


def check(sampling: Sampling, prompts: int | None = None) -> None:
    """Raise BadParameter if a setting is out of its range, or `seeds` are not as many as the prompts."""
    for name, (low, high) in _BOUNDS.items():
        value = getattr(sampling, name)
        if not low <= value <= high or (name in _POSITIVE and value == 0):
            wanted = f"in {'(' if name in _POSITIVE else '['}{low:g}, {high:g}]"
            raise BadParameter(f"{value} is out of range", field=name, hint=f"a number {wanted}")
    if "" in sampling.stop:
        raise BadParameter("an empty string cannot stop an answer", field="stop", hint="leave it out")
    if any(not math.isfinite(value) and value != -math.inf for _, value in sampling.logit_bias):
        raise BadParameter("a bias is not a number", field="logit_bias", hint="finite numbers, or -inf to forbid")
    if sampling.seeds and prompts is not None and len(sampling.seeds) != prompts:
        message = f"{len(sampling.seeds)} seeds for {prompts} prompts"
        raise BadParameter(message, field="seeds", hint="give one for each prompt, or only `seed`")


def check_bias(sampling: Sampling, vocabulary: int) -> None:
    """Raise BadParameter for a bias on a token that there is not."""
    for token, _ in sampling.logit_bias:
        if not 0 <= token < vocabulary:
            raise BadParameter(
                f"there is no token {token}", field="logit_bias", hint=f"tokens are 0 to {vocabulary - 1}"
            )


def adjusted(
    logits: Float[Tensor, "row vocab"],
    sampling: Sampling,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    ends: Collection[int] = (),
) -> Float[Tensor, "row vocab"]:
    """Logits after bias, penalties and `min_tokens`; each row comes after its prompt and the answer so far.

    Pure: a draft's position is adjusted by giving the answer with the draft up to there.
    """
    if not sampling.adjusts:
        return logits
    logits = logits.clone()
    for token, bias in sampling.logit_bias:
        if token < logits.shape[-1]:
            logits[:, token] += bias
    for row, prompt, answer in zip(logits, prompts, answers, strict=True):
        _penalise(row, sampling, prompt, answer)
        if len(answer) < sampling.min_tokens:
            row[[token for token in ends if token < len(row)]] = -torch.inf
        if isinstance(sampling.grammar, Mask):
            row.masked_fill_(~sampling.grammar.allowed(answer, len(row)).to(row.device), -torch.inf)
            if not bool(row.amax() > -torch.inf):
                what = "none of the tokens that the model considers is allowed by the grammar"
                raise Unsupported(what, field="grammar", hint="a strategy that keeps all tokens, such as average")
    return logits


def _penalise(row: Float[Tensor, " vocab"], sampling: Sampling, prompt: Sequence[int], answer: Sequence[int]) -> None:
    if sampling.repetition_penalty != 1:
        seen = torch.tensor(sorted({*prompt, *answer}), dtype=torch.long, device=row.device)
        values, penalty = row[seen], sampling.repetition_penalty
        row[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if answer and (sampling.frequency_penalty or sampling.presence_penalty):
        written = torch.tensor(answer, dtype=torch.long, device=row.device)
        tokens, counts = torch.unique(written, return_counts=True)
        row[tokens] -= sampling.frequency_penalty * counts + sampling.presence_penalty


def distribution(logits: Float[Tensor, "row vocab"], sampling: Sampling) -> Float[Tensor, "row vocab"]:
    """The probabilities tokens are drawn from, given adjusted logits: temperature, then the cuts; greedy is one-hot.

    Equal logits are ordered by token id, so exactly `top_k` tokens stay; top-p keeps the fewest that reach it.
    """
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    exact = logits.double()
    # the maximum goes first: 0 / t stays 0 where any other logit would overflow at a tiny temperature
    probabilities = ((exact - exact.amax(-1, keepdim=True)) / sampling.temperature).softmax(-1)
    if (0 < sampling.top_k < logits.shape[-1]) or sampling.top_p < 1:
        ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
        if sampling.top_k:
            ordered[:, sampling.top_k :] = 0
        probabilities = torch.zeros_like(probabilities).scatter_(-1, ids, _fewest(ordered, sampling.top_p))
    if sampling.min_p > 0:
        least = sampling.min_p * probabilities.max(-1, keepdim=True).values
        probabilities = probabilities.where(probabilities >= least, 0)
    if sampling.typical_p < 1:
        probabilities = _typical(probabilities, sampling.typical_p)
    return probabilities / probabilities.sum(-1, keepdim=True)


def _fewest(ordered: Float[Tensor, "row vocab"], share: float) -> Float[Tensor, "row vocab"]:
    """Zero what comes after the first entries that have `share` of the sum."""
    before = ordered.cumsum(-1) - ordered
    return ordered.where(before < share * ordered.sum(-1, keepdim=True), 0)


def _typical(probabilities: Float[Tensor, "row vocab"], share: float) -> Float[Tensor, "row vocab"]:
    """Keep the tokens whose surprise is nearest to the expected one (2202.00666, eq. 11) until they have `share`."""
    p = probabilities / probabilities.sum(-1, keepdim=True)
    surprise = -p.log()
    entropy = torch.special.entr(p).sum(-1, keepdim=True)
    ids = (surprise - entropy).abs().sort(dim=-1, stable=True).indices
    return torch.zeros_like(p).scatter_(-1, ids, _fewest(p.gather(-1, ids), share))


def key(seed: int, prompt: Sequence[int], repetition: int) -> bytes:
    """What all draws for an answer start from: the seed, the prompt, and how many equal prompts came before it.

    So an answer does not depend on the batch it is in, and a prompt given n times gives n different samples.
    """
    return blake2b(f"{seed} {repetition} {list(prompt)}".encode(), digest_size=16).digest()


def uniform(row: bytes, position: int) -> float:
    """A number in [0, 1) for token number `position` of the answer with this key."""
    digest = blake2b(position.to_bytes(8, "little"), key=row, digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def draw(probabilities: Float[Tensor, "row vocab"], numbers: Sequence[float]) -> Int[Tensor, " row"]:
    """The token at which the cumulated probability first exceeds the row's number in [0, 1)."""
    cumulated = probabilities.double().cumsum(-1)
    wanted = torch.tensor(numbers, dtype=torch.float64, device=cumulated.device).unsqueeze(-1) * cumulated[:, -1:]
    # the last token of positive probability, for a number that rounding has put past the end
    top = (cumulated < cumulated[:, -1:]).sum(-1)
    return torch.minimum(torch.searchsorted(cumulated, wanted, right=True).squeeze(-1), top)


def choose(
    logits: Float[Tensor, "row vocab"], sampling: Sampling, rows: Sequence[bytes], position: int
) -> Int[Tensor, " row"]:
    """The next token of each row, given adjusted logits; `position` counts the tokens drawn before it."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    return draw(distribution(logits, sampling), [uniform(row, position) for row in rows])
