"""What a model predicts at every position of a document: its likeliest tokens, their log-probabilities, the rest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from consort.core.errors import BadCheckpoint, BadData
from consort.distil.corpus import Document
from consort.models.base import Session, Tokenizer
from consort.models.decoding.decode import batches
from consort.models.decoding.score import MAX_LOGITS
from consort.models.token_model import TokenModel


@dataclass(frozen=True, slots=True)
class Rows:
    """Row i is the prediction after token i of a document, of its token i + 1.

    `ids` and `logp` (nats) are the kept tokens, likeliest first, padded with -inf; `tail` is the log-probability of
    all others together; `ce` the loss (nats) of the next token; `end` the bytes that were read before it, `next_end`
    those with it.
    """

    ids: NDArray[np.int64]
    logp: NDArray[np.float32]
    tail: NDArray[np.float32]
    ce: NDArray[np.float32]
    end: NDArray[np.int64]
    next_end: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ce)

    def take(self, places: NDArray[np.int64]) -> Rows:
        """Some of the rows, in the order of `places`."""
        return Rows(*(getattr(self, name)[places] for name in self.__slots__))


class Source(Protocol):
    """Where the rows of documents come from: a store, or a model at work."""

    tokenizer: Tokenizer

    def rows(self, document: Document) -> Rows | None:
        """The rows of a document, None if it is not known."""


def read_rows(model: TokenModel, documents: Sequence[Document], k: int, mass: float | None) -> list[Rows]:
    """Let `model` read the documents, in batches of bounded size.

    Raises BadCheckpoint for predictions that are not finite, BadData for a document that exceeds the window.
    """
    spelled = [document.spelled(model.tokenizer) for document in documents]
    sizes = [max(len(s) - 1, 0) for s in spelled]
    longest = max(sizes, default=0)
    if model.window is not None and longest > model.window:
        what = f"a document has {longest} tokens, its window {model.window}"
        raise BadData(what, field=model.name, hint=f"set block: {model.window} or less")
    found: dict[int, Rows] = {i: no_rows() for i, size in enumerate(sizes) if not size}
    for batch in batches(sizes, model.batch_tokens):
        batch = [i for i in batch if sizes[i]]
        if not batch:
            continue
        session = model.open(len(batch))
        parts = list(_fed(session, [spelled[i].ids.tolist() for i in batch], model.tokenizer.vocab_size, k, mass))
        for place, i in enumerate(batch):
            pieces = [part[place] for part in parts]
            ids, logp, tail, ce = (np.concatenate([piece[n] for piece in pieces]) for n in range(4))
            if not np.isfinite(ce).all() or np.isnan(tail).any():
                what = f"its predictions are not finite numbers (document {i + 1}: {documents[i].text[:40]!r})"
                raise BadCheckpoint(what, field=model.name, hint="look for NaN in its weights; leave this source out")
            found[i] = Rows(ids, logp, tail, ce, spelled[i].ends[:-1], spelled[i].ends[1:])
    return [found[i] for i in range(len(documents))]


_Piece = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def no_rows() -> Rows:
    """What is predicted of a document of one token."""
    empty, places = np.zeros(0, np.float32), np.zeros(0, np.int64)
    return Rows(np.zeros((0, 1), np.int64), np.zeros((0, 1), np.float32), empty, empty, places, places)


def _fed(
    session: Session, lists: Sequence[Sequence[int]], vocabulary: int, k: int, mass: float | None
) -> Iterator[list[_Piece]]:
    """Pieces of rows: as many positions at once as keep the logits small."""
    piece = max(1, MAX_LOGITS // (vocabulary * len(lists)))
    for at in range(0, max(map(len, lists)) - 1, piece):
        logits = session.feed([tokens[at : min(at + piece, len(tokens) - 1)] for tokens in lists])
        yield [
            kept(row, tokens[at + 1 : at + 1 + len(row)], k, mass) for row, tokens in zip(logits, lists, strict=True)
        ]


def kept(logits: Float[Tensor, "row vocab"], following: Sequence[int], k: int, mass: float | None) -> _Piece:
    """The `k` likeliest tokens of each row (fewer once they have `mass`), what is left, and the loss of `following`."""
    k = min(k, logits.shape[-1])
    logp = logits.float().log_softmax(-1)
    wanted = torch.tensor(following, dtype=torch.long, device=logits.device).unsqueeze(-1)
    ce = -logp.gather(-1, wanted).squeeze(-1)
    top, ids = logp.topk(k) if k < logits.shape[-1] else logp.sort(dim=-1, descending=True, stable=True)
    if mass is not None:
        shares = top.double().exp()
        top = top.masked_fill(shares.cumsum(-1) - shares >= mass, -torch.inf)
    tail = (1 - top.double().exp().sum(-1)).clamp(0, 1).log()
    parts = (ids.cpu().numpy(), top.cpu().numpy(), tail.float().cpu().numpy(), ce.cpu().numpy())
    return parts


class Online:
    """A model that answers when it is asked; the rows of the last `keep` documents are remembered."""

    def __init__(self, model: TokenModel, k: int, mass: float | None = None, *, keep: int = 4096) -> None:
        self.model, self.k, self.mass, self.keep = model, k, mass, keep
        self.tokenizer = model.tokenizer
        self._known: OrderedDict[int, Rows] = OrderedDict()

    def rows(self, document: Document) -> Rows | None:
        if document.key not in self._known:
            (self._known[document.key],) = read_rows(self.model, [document], self.k, self.mass)
            if len(self._known) > self.keep:
                self._known.popitem(last=False)
        self._known.move_to_end(document.key)
        return self._known[document.key]
