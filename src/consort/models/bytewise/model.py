"""Any token model as a model over bytes (2410.09303, 2506.14123), so that any two models share a vocabulary.

A cover of a text is a sequence of tokens that spells it, the last token reaching its end or beyond. The probability of
a text is that of all its covers; the next byte follows by division. Covers share their beginnings, so what is kept is
one node for each place where a token may end, with the model's next-token distribution summed along the byte trie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range
from consort.models.base import Session, Tokenizer
from consort.models.bytewise.covers import END, Spelling
from consort.models.bytewise.session import ByteSession
from consort.models.bytewise.trie import Trie
from consort.models.bytewise.valid_bpe import Validity
from consort.models.decoding.decode import start
from consort.models.registry import strategy
from consort.models.token_model import TokenModel
from consort.models.tokens.align import token_bytes
from consort.models.tokens.tokenizer import ByteTokenizer


@strategy(paper="2506.14123")
class AsBytes(TokenModel):
    """Read a token model byte by byte: next-byte probabilities over 256 bytes and the end, exact for its tokenizer.

    `covers`: `valid` counts the token sequences that the tokenizer itself makes (at most one more pass of the model for
    each byte), `all` every sequence that spells the text (the exact push-forward; their number grows fast, so it is for
    tests and short texts). `prune`: covers below this share of the whole are dropped; 0 keeps all. `branches`: the most
    that are kept, the heaviest. A session's `dropped` is the share that was left out, row by row. Raises Unsupported
    for `valid` covers of a tokenizer that is not byte pair encoding, and for a model that has no token to start from.
    """

    def __init__(
        self,
        model: TokenModel,
        *,
        covers: Literal["valid", "all"] = "valid",
        prune: Annotated[float, Range(0, 1)] = 0.0,
        branches: Annotated[int, Range(1, 1000000)] = 4096,
    ) -> None:
        if covers not in ("valid", "all"):
            raise BadParameter(f"{covers!r} are no covers", field="covers", hint="valid or all")
        if not isinstance(model, TokenModel):
            name = getattr(model, "name", str(model))
            raise Unsupported(f"{name} does not show its logits", field="model", hint="take a local model")
        self.model, self.covers, self.prune, self.branches = model, covers, prune, branches
        self.name, self.tokenizer = f"as_bytes({model.name})", ByteTokenizer(bos=END, eos=END)
        self.batch_tokens = model.batch_tokens
        self.spelling = self._spelling()

    def _spelling(self) -> Spelling:
        model, texts = self.model, self.model.tokenizer
        pieces = [None if i in model.ends else piece for i, piece in enumerate(token_bytes(texts))]
        head = tuple(texts.encode("") or start(texts))
        if not head:
            raise Unsupported("its tokenizer has no bos or eos to start from", field=model.name)
        return Spelling(
            name=self.name,
            pieces=pieces,
            trie=Trie(pieces),
            head=head,
            lead=_lead(texts, pieces),
            ends=tuple(sorted(model.ends)),
            window=model.window,
            valid=Validity(texts, pieces) if self.covers == "valid" else None,
            prune=self.prune,
            branches=self.branches,
        )

    @property
    def members(self) -> Sequence[TokenModel]:
        return (self.model,)

    def open(self, batch: int = 1) -> Session:
        return ByteSession(self, batch)


def _lead(tokenizer: Tokenizer, pieces: Sequence[bytes | None]) -> bytes:
    """The bytes that the tokenizer puts before a text."""
    letter = getattr(tokenizer, "alphabet", "a")[0]
    spelt = b"".join(pieces[i] or b"" for i in tokenizer.encode(letter, special=False))
    return spelt[: -len(letter.encode())] if spelt.endswith(letter.encode()) else b""
