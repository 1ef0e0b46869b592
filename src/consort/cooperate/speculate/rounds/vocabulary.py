"""Tokens of a target and of a draft that mean the same bytes (TLI: Timor et al. 2502.05202, algorithm 4).

Vocabularies are compared token by token, never by size. Pairs are two aligned arrays, sorted by the target's id, so the
order of a vocabulary's dictionary cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.cooperate.speculate.rounds.pipeline import widened
from consort.core.errors import BadData, Incompatible
from consort.models.base import Tokenizer
from consort.models.decoding.decode import start
from consort.models.token_model import TokenModel
from consort.models.tokens.pieces import token_bytes

_LONGEST_CHARACTER = 4


@dataclass(slots=True)
class Pairing:
    """Which token of the draft is which of the target: `t_ids[j]` and `d_ids[j]`, one to one.

    `same` tells that both have one map; ids beyond it (padding rows of a table) are not tokens and pair with nothing.
    """

    target: Tokenizer
    draft: Tokenizer
    same: bool
    t_ids: Int[Tensor, " pair"]
    d_ids: Int[Tensor, " pair"]
    to_draft: dict[int, int] = field(default_factory=dict)
    to_target: dict[int, int] = field(default_factory=dict)
    meaning: Sequence[bytes | None] = ()
    judged: bool = False
    """Whether it was looked at how much of the draft's probability is on shared tokens."""

    def logits(self, drafted: Float[Tensor, "row have"], width: int) -> Float[Tensor, "row width"]:
        """Logits of the draft as logits over the target's ids; tokens that only the target has get no probability.

        A softmax over them is the draft's distribution restricted to the shared tokens, hence its renormalisation.
        """
        if self.same:
            real = self.target.vocab_size
            return _drawable(drafted if drafted.shape[-1] == width == real else widened(drafted[:, :real], width))
        full = torch.full((len(drafted), width), -torch.inf, dtype=drafted.dtype, device=drafted.device)
        full[:, self.t_ids.to(drafted.device)] = drafted[:, self.d_ids.to(drafted.device)]
        return _drawable(full)

    def shared_mass(self, drafted: Float[Tensor, "row have"]) -> float:
        """Mean probability that the draft gives to the shared tokens."""
        if self.same:
            return 1.0
        return float(drafted.softmax(-1)[:, self.d_ids.to(drafted.device)].sum(-1).mean())

    def prompt(self, tokens: Sequence[int]) -> list[int]:
        """A text of the target as the draft reads it."""
        if self.same:
            return [token for token in tokens if token < self.target.vocab_size]
        respelt = written(self.draft, self.target.decode(tokens), special=True)
        return respelt or [self.to_draft[token] for token in tokens if token in self.to_draft] or start(self.draft)

    def read(self, tokens: Sequence[int], waiting: bytes) -> tuple[list[int], bytes]:
        """Further tokens of the target in ids of the draft, and the bytes that are no whole character yet.

        A token is its pair; one without a pair is what the draft's tokenizer makes of its bytes.
        """
        if self.same:
            return self.prompt(tokens), b""
        found: list[int] = []
        for token in tokens:
            if not waiting and token in self.to_draft:
                found.append(self.to_draft[token])
                continue
            waiting += (self.meaning[token] if token < len(self.meaning) else None) or b""
            text = _whole(waiting)
            if text is not None:
                found += written(self.draft, text)
                waiting = b""
        return found, waiting


def _drawable(logits: Float[Tensor, "row width"]) -> Float[Tensor, "row width"]:
    """Zeros, so equal probabilities, in rows that are no distribution: a draft may be drawn from any, but from one."""
    wrong = ~logits.amax(-1, keepdim=True).isfinite()
    return logits.masked_fill(wrong, 0.0) if bool(wrong.any()) else logits


def written(tokenizer: Tokenizer, text: str, *, special: bool = False) -> list[int]:
    """The tokens of `text`; none if the tokenizer refuses it, since what a draft has read need not be exact."""
    try:
        return tokenizer.encode(text, special=special) if text or special else []
    except BadData:
        return []


def _whole(waiting: bytes) -> str | None:
    """The text of bytes that end at a character's end, None while more may come; what never was text is left out."""
    try:
        return waiting.decode()
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data" and len(waiting) - error.start < _LONGEST_CHARACTER
        return None if cut else waiting.decode(errors="ignore")


def pair(target: TokenModel, draft: TokenModel) -> Pairing:
    """The pairing of two models' vocabularies. Raises Incompatible, naming both, if they share no ordinary token."""
    ours, theirs = target.tokenizer, draft.tokenizer
    if ours.vocabulary_key == theirs.vocabulary_key:
        ids = torch.arange(ours.vocab_size)
        return Pairing(ours, theirs, True, ids, ids, judged=True)
    meaning = token_bytes(ours)
    pairs = sorted(_ordinary(meaning, token_bytes(theirs)))
    if not pairs:
        message = f"the tokenizers of {target.name} and {draft.name} share no token"
        raise Incompatible(message, field="draft", hint="take a draft that writes the same language")
    taken, used = {t for t, _ in pairs}, {d for _, d in pairs}
    for t, d in ((ours.eos, theirs.eos), (ours.bos, theirs.bos)):
        if t is not None and d is not None and t not in taken and d not in used:
            pairs.append((t, d))
            taken.add(t)
            used.add(d)
    pairs.sort()
    t_ids, d_ids = torch.tensor(pairs).unbind(1)
    return Pairing(ours, theirs, False, t_ids, d_ids, dict(pairs), {d: t for t, d in pairs}, meaning)


def _ordinary(target: Sequence[bytes | None], draft: Sequence[bytes | None]) -> Iterator[tuple[int, int]]:
    """Pairs of equal bytes. Where several tokens have the same bytes, the first of each are paired, and so on."""
    found: dict[bytes, tuple[list[int], list[int]]] = {}
    for side, tokens in enumerate((target, draft)):
        for token, text in enumerate(tokens):
            if text:
                found.setdefault(text, ([], []))[side].append(token)
    for ours, theirs in found.values():
        yield from zip(_written_first(ours), _written_first(theirs), strict=False)


def _written_first(tokens: list[int]) -> list[int]:
    """The last id first: a byte's own token, for characters without one, comes before the character in vocabularies."""
    return tokens[::-1]
