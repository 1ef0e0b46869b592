"""Any token model as a model over bytes (2410.09303, 2506.14123), so that any two models share a vocabulary.

A cover of a text is a sequence of tokens that spells it, the last token reaching its end or beyond. The probability of
a text is that of all its covers; the next byte follows by division. Covers share their beginnings, so what is kept is
one node for each place where a token may end, with the model's next-token distribution summed along the byte trie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from consort.core.errors import BadData, BadParameter, Unsupported
from consort.core.params import Range
from consort.models.base import Session, Tokenizer
from consort.models.bytewise.covers import END, Spelling
from consort.models.bytewise.lexicon import lead_of, lexicon
from consort.models.bytewise.session import ByteSession
from consort.models.bytewise.trie import Trie
from consort.models.bytewise.validity import Validity
from consort.models.decoding.decode import start
from consort.models.registry import strategy
from consort.models.token_model import TokenModel
from consort.models.tokens.pieces import check_spelling, token_bytes
from consort.models.tokens.tokenizer import ByteTokenizer

SLOTS = {"valid": 1, "all": 16}
"""How many nodes of a row are read at a time: valid covers grow by at most one node a byte."""


@strategy(paper="2506.14123")
class AsBytes(TokenModel):
    """Read a token model byte by byte: next-byte probabilities over 256 bytes and the end, exact for its tokenizer.

    `covers`: `valid` counts the token sequences that the tokenizer itself makes (at most one more pass of the model for
    each byte), `all` every sequence that spells the text (the exact push-forward; their number grows fast, so it is for
    tests and short texts). `prune`: covers below this share of the whole are dropped; 0 keeps all. `branches`: the most
    that are kept, the heaviest. A session's `dropped` is the share that was left out, row by row. A text of probability
    0 is read too: what follows is conditional on it.

    Raises Unsupported for a tokenizer whose tokens do not join to its texts (WordPiece), for `valid` covers of one that
    is neither byte pair encoding nor Unigram, and for a model that has no token to start from.
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
        self.name = f"as_bytes({model.name})"
        own = getattr(model.tokenizer, "template", None)
        self.tokenizer = ByteTokenizer(bos=END, eos=END, name=self.name, template=own)
        self.batch_tokens = model.batch_tokens
        self.spelling = self._spelling()

    def _spelling(self) -> Spelling:
        model, texts = self.model, self.model.tokenizer
        check_spelling(texts, model.name)
        pieces = [None if i in model.ends else piece for i, piece in enumerate(token_bytes(texts))]
        head = tuple(texts.encode("") or start(texts))
        if not head:
            raise Unsupported("its tokenizer has no bos or eos to start from", field=model.name)
        trie, lead = Trie(pieces), lead_of(texts)
        own: Any = texts  # kept by identity
        known = lexicon(own) if self.covers == "valid" else None
        return Spelling(
            name=self.name,
            pieces=pieces,
            trie=trie,
            head=head,
            lead=_lead(texts, pieces) if lead is None else lead,
            ends=tuple(sorted(model.ends)),
            unknown=getattr(texts, "unk", None),
            window=model.window,
            valid=None if known is None else Validity(known, trie),
            prune=self.prune,
            branches=self.branches,
        )

    def check_text(self, tokens: Sequence[int], field: str) -> None:
        """Raise BadData if what the model's own tokenizer makes of these bytes does not fit into its context window."""
        window, texts = self.model.window, self.spelling
        if window is None:
            return
        begun = len(tokens) - list(tokens)[::-1].index(END) if END in tokens else 0
        text = bytes(tokens[begun:]).decode("utf-8", "ignore")
        length = len(texts.head) + len(self.model.tokenizer.encode(text, special=False))
        if length > window:
            message = f"{length} tokens are more than the context window of {self.model.name}, {window}"
            raise BadData(message, field=field, hint="shorten the text, or take a model with a longer window")

    @property
    def members(self) -> Sequence[TokenModel]:
        """The models that it asks."""
        return (self.model,)

    def open(self, batch: int = 1) -> Session:
        return ByteSession(self, self.model, self.spelling, batch, slots=SLOTS[self.covers])


def _lead(tokenizer: Tokenizer, pieces: Sequence[bytes | None]) -> bytes:
    """The bytes that the tokenizer puts before a text."""
    letter = getattr(tokenizer, "alphabet", "a")[0]
    spelt = b"".join(pieces[i] or b"" for i in tokenizer.encode(letter, special=False))
    return spelt[: -len(letter.encode())] if spelt.endswith(letter.encode()) else b""
