"""Sessions that read something else than what they are fed: a text in another tokenizer, or without its context.

What a row shall have read is given as a whole list of tokens; the part it shares with what was read before is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from consort.core.prefix import shared_prefix
from consort.core.types import Usage, add_cost
from consort.models.base import LogitModel, Tokenizer
from consort.models.decoding.decode import start

View = Callable[[Sequence[int]], Sequence[int] | None]
"""All tokens fed so far to the tokens that a model reads in their place; None where there is nothing to read yet."""


def retold(source: Tokenizer, target: Tokenizer) -> View | None:
    """What a model of tokenizer `target` reads for tokens of `source`: their text. None if the two are the same.

    A text that ends inside a character cannot be read yet.
    """
    if source.vocabulary_key == target.vocabulary_key:
        return None
    # control tokens are not part of the text that is decoded, so that whatever looks like one was written by somebody
    encode = getattr(target, "literal", target.encode)

    def view(tokens: Sequence[int]) -> Sequence[int] | None:
        text = source.decode(tokens)
        return None if text.endswith("\ufffd") else encode(text) or start(target) or None

    return view


class Reading:
    """A batch of rows of one model, each brought to any list of tokens."""

    def __init__(self, model: LogitModel, batch: int) -> None:
        self.session = model.open(batch)
        self.read: list[list[int]] = [[] for _ in range(batch)]

    def after(
        self, targets: Sequence[Sequence[Sequence[int] | None]], *, last: bool = False
    ) -> list[Float[Tensor, "target vocab"]]:
        """Next-token logits after each of a row's token lists; a row of NaN for a list that is None or empty.

        One pass reads the last list and all that it begins with; each other list takes a pass of its own. With `last`
        a row has one list at most, and only the logits after its end are computed.
        """
        finals = [next((t for t in reversed(row) if t), None) for row in targets]
        aside = [
            [i for i, t in enumerate(row) if t and final is not None and list(t) != list(final[: len(t)])]
            for row, final in zip(targets, finals, strict=True)
        ]
        found: list[dict[int, Tensor]] = [{} for _ in targets]
        for turn in range(max(map(len, aside), default=0)):
            chosen = [own[turn] if turn < len(own) else None for own in aside]
            wanted = [None if i is None else row[i] for row, i in zip(targets, chosen, strict=True)]
            logits, _ = self._go(wanted, [len(t or ()) - 1 for t in wanted], last=last)
            for own, i, values in zip(found, chosen, logits, strict=True):
                if i is not None:
                    own[i] = values[-1]
        return self._along(targets, finals, found, last)

    def _along(
        self,
        targets: Sequence[Sequence[Sequence[int] | None]],
        finals: Sequence[Sequence[int] | None],
        found: list[dict[int, Tensor]],
        last: bool,
    ) -> list[Float[Tensor, "target vocab"]]:
        """Read the final lists; `found` has the logits of those that they do not begin with."""
        ends = [
            {i: len(t) for i, t in enumerate(row) if t and i not in own}
            for row, own in zip(targets, found, strict=True)
        ]
        logits, begun = self._go(finals, [min(own.values(), default=1) - 1 for own in ends], last=last)
        rows = []
        for row, target in enumerate(targets):
            values, own = logits[row], found[row]
            for i, end in ends[row].items():
                own[i] = values[-1 if last else end - 1 - begun[row]]
            nothing = values.new_full((values.shape[-1],), torch.nan)
            parts = [own.get(i, nothing) for i in range(len(target))]
            rows.append(torch.stack(parts) if parts else values[:0])
        return rows

    def _go(
        self, wanted: Sequence[Sequence[int] | None], latest: Sequence[int], *, last: bool
    ) -> tuple[list[Float[Tensor, "new vocab"]], list[int]]:
        """Bring rows to the lists that are given, reading anew from `latest` at the latest; logits, and where from."""
        begun = [
            len(have) if want is None else min(shared_prefix(have, want), at)
            for have, want, at in zip(self.read, wanted, latest, strict=True)
        ]
        self.session.rollback(begun)
        new = [[] if want is None else list(want[at:]) for want, at in zip(wanted, begun, strict=True)]
        self.read = [have if want is None else list(want) for have, want in zip(self.read, wanted, strict=True)]
        return self.session.feed(new, last=last), begun

    def select(self, rows: Sequence[int]) -> None:
        self.session = self.session.select(rows)
        self.read = [list(self.read[row]) for row in rows]

    def admit(self, rows: int) -> None:
        growing: Any = self.session
        self.session = growing.admit(rows)
        self.read += [[] for _ in range(rows)]


def broken(logits: Float[Tensor, "row vocab"], unread: Sequence[bool] = ()) -> Bool[Tensor, " row"]:
    """Which rows are no distribution, by NaN, infinity or nothing but -inf, although there was something to read."""
    wrong = ~logits.amax(-1).isfinite()
    return wrong & ~torch.tensor(unread, device=wrong.device) if len(unread) else wrong


class Views:
    """One model reading the same rows in several ways, as one batch; None is the view of the rows as they are."""

    def __init__(self, model: LogitModel, views: Sequence[View | None], batch: int) -> None:
        self.views, self.plain = list(views), list(views) == [None]
        self.reading = Reading(model, batch * len(self.views))
        self.rows: list[list[int]] = [[] for _ in range(batch)]
        self.unread: list[list[bool]] = [[]] * len(self.views)
        """By view, for each logits of the last feed whether there was nothing to read; empty where all was read."""

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[list[Float[Tensor, "new vocab"]]]:
        """For each view, what `Session.feed` gives; NaN at positions where a view has nothing to read."""
        if self.plain:
            return [self.reading.session.feed(tokens, last=last)]
        wanted = []
        for row, new in zip(self.rows, tokens, strict=True):
            row.extend(new)
            ends = range(len(row) - len(new) + 1, len(row) + 1)
            wanted.append([row[:end] for end in (ends[-1:] if last else ends)])
        targets = [[t if view is None else view(t) for t in row] for view in self.views for row in wanted]
        found, batch = self.reading.after(targets, last=last), len(self.rows)
        self.unread = [
            [not t for row in targets[i * batch : (i + 1) * batch] for t in row] for i in range(len(self.views))
        ]
        return [found[i * batch : (i + 1) * batch] for i in range(len(self.views))]

    def rollback(self, lengths: Sequence[int]) -> None:
        if self.plain:
            self.reading.session.rollback(lengths)
        else:  # what is no longer wanted is forgotten at the next feed
            self.rows = [row[:length] for row, length in zip(self.rows, lengths, strict=True)]

    def select(self, rows: Sequence[int]) -> None:
        batch = len(self.rows)
        self.reading.select([i * batch + row for i in range(len(self.views)) for row in rows])
        self.rows = [list(self.rows[row]) for row in rows]

    def admit(self, rows: int) -> None:
        """New, empty rows at the end, in every view."""
        had, views = len(self.rows), len(self.views)
        self.reading.admit(rows * views)
        if views > 1:  # a view's rows stand together
            new = had * views
            order = [
                row
                for i in range(views)
                for row in (*range(i * had, (i + 1) * had), *range(new + i * rows, new + (i + 1) * rows))
            ]
            self.reading.select(order)
        self.rows += [[] for _ in range(rows)]

    def spent(self) -> list[dict[str, Usage]]:
        batch, costs = len(self.rows), self.reading.session.spent()
        return [add_cost(*costs[row::batch]) for row in range(batch)]
