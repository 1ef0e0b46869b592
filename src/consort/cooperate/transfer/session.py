"""The session of a sum of terms: every distinct model reads once, each view of it a row of its batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.transfer.layered import Layered
from consort.cooperate.transfer.terms import Term
from consort.core.errors import BadCheckpoint
from consort.core.types import Usage
from consort.models.cost import joined
from consort.models.decoding.retokenized import View, Views, broken, retold
from consort.models.token_model import TokenModel

Combine = Callable[[Sequence[Float[Tensor, "row _"]]], Float[Tensor, "row vocab"]]
"""Scores from the logits of every term."""


class CombinedSession:
    """A session of `owner`, whose scores `combine` makes; term k is column `places[k][1]` of part `places[k][0]`."""

    def __init__(
        self, owner: TokenModel, terms: Sequence[Term], combine: Combine, batch: int, divergence: str = "textbook"
    ) -> None:
        self.owner, self.terms, self.combine, self.divergence = owner, terms, combine, divergence
        self.models = list({id(term.model): term.model for term in terms}.values())
        self.parts: list[Views | Layered] = []
        self.places: dict[int, tuple[int, int]] = {}
        for part, model in enumerate(self.models):
            own = [(k, term) for k, term in enumerate(terms) if term.model is model]
            self._add(part, model, own, batch)

    def _add(self, part: int, model: TokenModel, own: list[tuple[int, Term]], batch: int) -> None:
        if any(term.layers for _, term in own):
            self.parts.append(Layered(model, [term.layers for _, term in own], batch, self.divergence))
            self.places.update({k: (part, column) for column, (k, _) in enumerate(own)})
            return
        views = list(dict.fromkeys(term.view for _, term in own))
        self.places.update({k: (part, views.index(term.view)) for k, term in own})
        self.parts.append(Views(model, [self._view(model, view) for view in views], batch))

    def _view(self, model: TokenModel, view: View | None) -> View | None:
        """A view in the model's own tokens."""
        own = retold(self.owner.tokenizer, model.tokenizer)
        return view if own is None else own if view is None else chained(view, own)

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        fed = [part.feed(tokens, last=last) for part in self.parts]
        columns = [fed[part][column] for part, column in (self.places[k] for k in range(len(self.terms)))]
        device = columns[0][0].device
        joint = [torch.cat(column).to(device) for column in columns]
        for k, logits in enumerate(joint):
            self._check(k, logits)
        return list(torch.split(self.combine(joint), [len(row) for row in columns[0]]))

    def _check(self, term: int, logits: Float[Tensor, "row _"]) -> None:
        """Raise BadCheckpoint, naming the model, for logits that are no numbers: a sum with them would mean nothing."""
        part, column = self.places[term]
        unread = getattr(self.parts[part], "unread", None)
        if bool(broken(logits, unread[column] if unread else ()).any()):
            name, hint = self.models[part].name, "look for NaN in its weights"
            raise BadCheckpoint("gives logits that are not numbers", field=name, hint=hint)

    def rollback(self, lengths: Sequence[int]) -> None:
        for part in self.parts:
            part.rollback(lengths)

    def inner_sessions(self) -> list[Any]:
        """The members' sessions; a member that shows layers keeps its rows in another way."""
        return [part.reading.session if isinstance(part, Views) else part for part in self.parts]

    def admit(self, rows: int) -> CombinedSession:
        for part in self.parts:
            part.admit(rows)  # type: ignore[union-attr]
        return self

    def select(self, rows: Sequence[int]) -> CombinedSession:
        for part in self.parts:
            part.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        by_row = zip(*(part.spent() for part in self.parts), strict=True)
        return [joined(self.owner, list(zip(self.models, costs, strict=True))) for costs in by_row]


def chained(first: View, then: View) -> View:
    """One view after the other."""

    def view(tokens: Sequence[int]) -> Sequence[int] | None:
        found = first(tokens)
        return None if found is None else then(found)

    return view
