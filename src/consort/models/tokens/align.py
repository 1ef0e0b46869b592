"""Two tokenizers side by side: the bytes of every token, which tokens are the same, which begin alike.

Where tokens end in a text: align_ends.py; which look alike: align_distance.py; whole maps: vocabulary_map.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.models.base import Tokenizer
from consort.models.token_model import TokenModel
from consort.models.tokens.edit_distance import Nearest as Nearest
from consort.models.tokens.tokenizer import read_chat

Pieces = tuple[bytes | None, ...]
"""The bytes of each token where it stands inside a text; None for those that are no text (special, unused)."""


def token_bytes(tokenizer: Tokenizer) -> Pieces:
    """The bytes that each token adds to a text. A word of a tokenizer of words brings the space before it."""
    held: Any = tokenizer  # kept by identity
    return _token_bytes(held)


@lru_cache(maxsize=32)
def _token_bytes(tokenizer: Any) -> Pieces:
    inner = getattr(tokenizer, "tokenizer", None)
    if isinstance(tokenizer, UnionTokenizer):
        return tokenizer.pieces
    if inner is None:
        return _decoded_bytes(tokenizer)
    spell = _speller(inner)
    found: list[bytes | None] = [None] * tokenizer.vocab_size
    added = dict(inner.added_tokens_decoder)
    for name, i in inner.get_vocab().items():
        if i not in added:
            found[i] = spell(name)
        elif not added[i].special:
            found[i] = added[i].content.encode()
    return tuple(found)


def _decoded_bytes(tokenizer: Tokenizer) -> Pieces:
    """For tokenizers whose tokens are characters or bytes: what each decodes to by itself."""
    special = {tokenizer.bos, tokenizer.eos}
    shown = [tokenizer.decode([i]) for i in range(tokenizer.vocab_size)]
    return tuple(
        None if i in special or not text else bytes([i]) if text == "\ufffd" else text.encode()
        for i, text in enumerate(shown)
    )


@lru_cache(maxsize=1)
def byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in vocabularies of the GPT-2 kind: itself where it is printable."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


def _kind(inner: Any) -> str:
    """How a vocabulary writes its tokens: as "bytes" (GPT-2), "words", or "spaces" (SentencePiece)."""
    backend = inner.backend_tokenizer
    if "ByteLevel" in f"{backend.decoder} {backend.pre_tokenizer}":
        return "bytes"
    return "words" if "WhitespaceSplit" in str(backend.pre_tokenizer) else "spaces"


def _speller(inner: Any) -> Callable[[str], bytes | None]:
    kind, alphabet = _kind(inner), byte_alphabet()
    if kind == "bytes":
        return lambda name: bytes(alphabet[c] for c in name) if all(c in alphabet for c in name) else name.encode()
    return (lambda name: b" " + name.encode()) if kind == "words" else _unspaced


def _unspaced(name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.replace("\u2581", " ").encode()


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
    write, split = _writer(inner), inner.backend_tokenizer.model.tokenize

    def own(text: bytes) -> int:
        name = write(text)
        found = split(name) if name else []
        first = found[0].id if found else -1
        return first if 0 <= first < len(pieces) and pieces[first] else longest(text)

    return own


def _writer(inner: Any) -> Callable[[bytes], str]:
    """Bytes in the way the vocabulary writes them; empty where it cannot."""
    kind = _kind(inner)
    if kind == "bytes":
        letter = {b: c for c, b in byte_alphabet().items()}
        return lambda text: "".join(letter[b] for b in text)

    def write(text: bytes) -> str:
        try:
            name = text.decode()
        except UnicodeDecodeError:
            return ""
        return name.removeprefix(" ") if kind == "words" else name.replace(" ", "\u2581")

    return write


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
