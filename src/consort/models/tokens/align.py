"""Two tokenizers side by side: the bytes of every token, which tokens are the same, which begin alike.

The bytes of each token: pieces.py; where tokens end in a text: ends.py; which look alike: edit_distance.py; whole maps:
vocabulary_map.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.models.base import Tokenizer
from consort.models.token_model import TokenModel
from consort.models.tokens.edit_distance import Nearest as Nearest
from consort.models.tokens.pieces import Pieces as Pieces
from consort.models.tokens.pieces import check_spelling, names_of
from consort.models.tokens.pieces import token_bytes as token_bytes
from consort.models.tokens.tokenizer import read_chat


def first_piece(tokenizer: Tokenizer) -> Callable[[bytes], int]:
    """A function from bytes inside a text to the first token that the tokenizer makes of them, -1 if there is none.

    It is the tokenizer's own splitting; where it cannot split the bytes, the longest token that they begin with.
    """
    pieces, inner = token_bytes(tokenizer), getattr(tokenizer, "tokenizer", None)
    ids = {piece: i for i, piece in enumerate(pieces) if piece}

    def longest(text: bytes) -> int:
        return next((ids[text[:n]] for n in range(len(text), 0, -1) if text[:n] in ids), -1)

    if inner is None:
        return longest
    write, split = names_of(inner), inner.backend_tokenizer.model.tokenize

    def own(text: bytes) -> int:
        name = write(text)
        found = split(name) if name else []
        first = found[0].id if found else -1
        return first if 0 <= first < len(pieces) and pieces[first] else longest(text)

    return own


def exact_map(source: Pieces, target: Pieces) -> Int[Tensor, " source"]:
    """For each token of `source` the token of `target` with the same bytes, -1 if there is none.

    Where several have them (a letter and its byte) it is the last, which is the letter.
    """
    ids = {piece: i for i, piece in enumerate(target) if piece is not None}
    return torch.tensor([-1 if piece is None else ids.get(piece, -1) for piece in source], dtype=torch.long)


def first_map(source: Pieces, target: Tokenizer) -> Int[Tensor, " source"]:
    """As `exact_map`, and for tokens that `target` does not have, the first piece that it makes of them."""
    found, first = exact_map(source, token_bytes(target)), first_piece(target)
    for i in (found < 0).nonzero().flatten().tolist():
        if piece := source[i]:
            found[i] = first(piece)
    return found


def model_map(source: TokenModel, target: TokenModel) -> Int[Tensor, " source"]:
    """`exact_map` of two models' tokens, in which every end of `source` is the end of `target`."""
    if source.tokenizer.vocabulary_key != target.tokenizer.vocabulary_key:
        for model in (source, target):
            check_spelling(model.tokenizer, model.name)
    found = exact_map(token_bytes(source.tokenizer), token_bytes(target.tokenizer))
    return with_ends(found, source.ends, min(target.ends, default=-1))


def with_ends(found: Int[Tensor, " source"], ends: frozenset[int], end: int) -> Int[Tensor, " source"]:
    """A map of tokens in which all `ends` are `end`."""
    size = max([len(found), *(token + 1 for token in ends)])
    wider = torch.full((size,), -1)
    wider[: len(found)] = found
    wider[list(ends)] = end
    return wider


def coverage(source: Pieces, target: Pieces) -> float:
    """The share of the texts in `source` that `target` has as a token too."""
    texts = sum(piece is not None for piece in source)
    return float((exact_map(source, target) >= 0).sum()) / max(texts, 1)


def carry(
    probabilities: Float[Tensor, "row source"], ids: Int[Tensor, " source"], size: int
) -> Float[Tensor, "row target"]:
    """Probabilities under a map of tokens (-1: dropped), not renormalised."""
    known = min(len(ids), probabilities.shape[-1])
    ids = ids[:known].to(probabilities.device)
    kept = (ids >= 0).nonzero().flatten()
    found = probabilities.new_zeros(len(probabilities), size)
    return found.index_add_(1, ids[kept], probabilities[:, :known][:, kept])


class UnionTokenizer:
    """The tokens of several tokenizers: those of the first under their own ids, then the texts only others have.

    It encodes as the first does. `own` gives any tokens in those of the first.
    """

    def __init__(self, tokenizers: Sequence[Tokenizer]) -> None:
        for tokenizer in tokenizers:
            check_spelling(tokenizer, "models")
        self.main = tokenizers[0]
        self.bos, self.eos = self.main.bos, self.main.eos
        known = list(token_bytes(self.main))
        seen = {piece for piece in known if piece is not None}
        for tokenizer in tokenizers[1:]:
            for piece in token_bytes(tokenizer):
                if piece is not None and piece not in seen:
                    seen.add(piece)
                    known.append(piece)
        self.pieces: Pieces = tuple(known)
        self.vocab_size = len(known)
        keys = "+".join(dict.fromkeys(t.vocabulary_key for t in tokenizers))
        self.vocabulary_key = f"union({keys})"
        self._first = first_piece(self.main)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        return self.main.encode(text, special=special)

    def decode(self, tokens: Sequence[int]) -> str:
        return self.main.decode(self.own(tokens))

    def chat(self, prompt: Any) -> str:
        return self.main.chat(prompt)

    def chat_tokens(self, prompt: Any) -> list[int]:
        return read_chat(self.main, prompt)

    def own(self, tokens: Sequence[int]) -> list[int]:
        """The tokens with each that the first tokenizer lacks replaced by the pieces it makes of its bytes."""
        found: list[int] = []
        for token in tokens:
            found += [token] if token < self.main.vocab_size else self._split(self.pieces[token] or b"")
        return found

    def _split(self, text: bytes) -> list[int]:
        found: list[int] = []
        while text:
            first = self._first(text)
            if first < 0:  # a byte that the first tokenizer cannot write
                text = text[1:]
                continue
            found.append(first)
            text = text[len(token_bytes(self.main)[first] or b" ") :]
        return found


def union_of(tokenizers: Sequence[Tokenizer]) -> Tokenizer:
    """Their union, which is the first itself if all are alike."""
    if len({t.vocabulary_key for t in tokenizers}) == 1:
        return tokenizers[0]
    return UnionTokenizer(tokenizers)
