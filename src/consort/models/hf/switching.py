"""Sessions on models whose rotary angles change once a text is longer than a bound (longrope: Phi-3, MiniCPM-3).

Such a module chooses the angles of all tokens of a pass by the longest position in it, so a row's logits would depend
on its neighbours and on how it was read. Here each row is read by two sessions, one for texts up to the bound and one
for longer ones: the logits after a token are those that the module gives when that token is the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.types import Usage
from consort.models.abilities import HiddenSession, States
from consort.models.cost import Meter
from consort.models.hf.hidden import no_states
from consort.models.hf.host import Host


def switch_of(module: Any) -> int | None:
    """The longest text that a module reads with its first kind of rotary angles, None if it has one kind only."""
    text = module.config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    for kind in kinds:
        if kind.get("rope_type", kind.get("type")) in ("longrope", "su"):
            bound = kind.get("original_max_position_embeddings")
            bound = bound or getattr(text, "original_max_position_embeddings", None) or text.max_position_embeddings
            return int(bound)
    return None


@dataclass(slots=True)
class _Side:
    """One of the two sessions, and how many tokens of each row it has read."""

    session: Any
    read: list[int] = field(default_factory=list)


class SwitchingSession:
    """Rows up to `switch` tokens in one session of `opener`, longer ones in another, which reads them from the start.

    A row that grows past the bound is read again, as transformers does it, too.
    """

    def __init__(self, model: Host, opener: Callable[[int], Any], switch: int, batch: int) -> None:
        self.model, self.switch = model, switch
        self.tokens: list[list[int]] = [[] for _ in range(batch)]
        self.sides = [_Side(opener(batch), [0] * batch), _Side(opener(batch), [0] * batch)]
        self.meter = Meter(model.name, batch)

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        return [states.logits for states in self._feed(tokens, last, None)]

    def feed_hidden(
        self, tokens: Sequence[Sequence[int]], layers: Sequence[int] = (-1,), *, last: bool = False
    ) -> list[States]:
        """As `feed`, with hidden states of `layers` (see `abilities.HiddenSession`)."""
        return self._feed(tokens, last, layers)

    def layer_logits(
        self, hidden: Float[Tensor, "*shape size"], *, norm: bool = False
    ) -> Float[Tensor, "*shape vocab"]:
        """Float32 logits that the output head gives for hidden states; with `norm` the final norm comes first."""
        reader: HiddenSession = self.sides[0].session
        return reader.layer_logits(hidden, norm=norm)

    def _feed(self, tokens: Sequence[Sequence[int]], last: bool, layers: Sequence[int] | None) -> list[States]:
        self.model.check_feed(list(map(len, self.tokens)), tokens)
        before = [len(row) for row in self.tokens]
        for row, new in zip(self.tokens, tokens, strict=True):
            row.extend(new)
        begun = self._seconds()
        # up to the bound, and beyond it: how many of a row's new tokens want logits of each side
        short = [max(0, min(len(row), self.switch) - n) for row, n in zip(self.tokens, before, strict=True)]
        long = [len(new) - count for new, count in zip(tokens, short, strict=True)]
        if last:
            short = [0 if beyond else min(1, count) for count, beyond in zip(short, long, strict=True)]
            long = [min(1, count) for count in long]
        ends = [min(len(row), self.switch) for row in self.tokens]
        parts = [self._read(0, ends, short, layers), self._read(1, list(map(len, self.tokens)), long, layers)]
        self.meter.add(tokens, last, self._seconds() - begun)
        return [_joined(a, b) for a, b in zip(*parts, strict=True)]

    def _seconds(self) -> float:
        """What both sessions have taken so far."""
        spent = (row for side in self.sides for row in side.session.spent())
        return sum((usage.seconds for row in spent for usage in row.values()), 0.0)

    def _read(
        self, number: int, ends: Sequence[int], wanted: Sequence[int], layers: Sequence[int] | None
    ) -> list[States]:
        """The last `wanted[row]` logits of each row's first `ends[row]` tokens; rows that want none are not read."""
        side, empty = self.sides[number], no_states(self.model, len(layers or ()))
        if not any(wanted):
            return [empty] * len(wanted)
        kept = [min(r, e - w) if w else r for r, e, w in zip(side.read, ends, wanted, strict=True)]
        side.session.rollback(kept)
        pieces = [
            row[read:end] if want else [] for row, read, end, want in zip(self.tokens, kept, ends, wanted, strict=True)
        ]
        last = max(wanted) == 1
        if layers is None:
            found = [States(logits, logits[:0]) for logits in side.session.feed(pieces, last=last)]
        else:
            found = side.session.feed_hidden(pieces, layers, last=last)
        side.read = [end if want else read for read, end, want in zip(kept, ends, wanted, strict=True)]
        return [_tail(states, want) if want else empty for states, want in zip(found, wanted, strict=True)]

    def rollback(self, lengths: Sequence[int]) -> None:
        self.tokens = [row[:length] for row, length in zip(self.tokens, lengths, strict=True)]
        for side in self.sides:
            side.read = [min(read, len(row)) for read, row in zip(side.read, self.tokens, strict=True)]
            side.session.rollback(side.read)

    def inner_sessions(self) -> list[Any]:
        return [side.session for side in self.sides]

    def admit(self, rows: int) -> SwitchingSession:
        self.tokens += [[] for _ in range(rows)]
        for side in self.sides:
            side.session, side.read = side.session.admit(rows), [*side.read, *[0] * rows]
        self.meter.admit(rows)
        return self

    def select(self, rows: Sequence[int]) -> SwitchingSession:
        self.tokens = [list(self.tokens[row]) for row in rows]
        for side in self.sides:
            side.session, side.read = side.session.select(rows), [side.read[row] for row in rows]
        self.meter.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.meter.spent()


def _tail(states: States, count: int) -> States:
    logits, hidden = states.logits, states.hidden
    at = len(logits) - count
    return States(logits[at:], hidden[:, at:] if hidden.dim() == 3 else hidden)


def _joined(a: States, b: States) -> States:
    if not len(a.logits) or not len(b.logits):
        return b if len(b.logits) else a
    hidden = torch.cat([a.hidden, b.hidden], 1) if a.hidden.dim() == 3 else a.hidden
    return States(torch.cat([a.logits, b.logits]), hidden)
