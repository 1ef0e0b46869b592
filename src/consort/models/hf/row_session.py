"""Sessions on transformers modules that read each row by itself, with whatever state the module keeps."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.types import Usage
from consort.models.abilities import States
from consort.models.cost import Meter
from consort.models.hf.hidden import no_states, readout_of, states_of
from consort.models.hf.host import Host
from consort.models.hf.kept_state import Keeper


@dataclass(slots=True)
class _Kept:
    """What a row has read, and the model's state after `read` of it (None: not kept)."""

    tokens: list[int] = field(default_factory=list)
    state: Any = None
    read: int = 0


class RowSession:
    """Each row by itself, with whatever state the model keeps; after a rollback a row is read anew from its tokens.

    `keeper` lends the state to a pass and takes it back; with `single` the model goes on from a state by one token at a
    time only. Where nothing is kept, all of a text is read anew each time. Places are given from 0 on unless the model
    counts them itself (`own_places`), as those do that have none for padding.
    """

    def __init__(self, model: Host, batch: int, keeper: Keeper, single: bool = False, own_places: bool = False) -> None:
        self.model, self.keeper, self.single, self.own_places = model, keeper, single, own_places
        self.rows = [_Kept() for _ in range(batch)]
        self.meter = Meter(model.name, batch)

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        return [states.logits for states in self._feed(tokens, last, None)]

    def feed_hidden(
        self, tokens: Sequence[Sequence[int]], layers: Sequence[int] = (-1,), *, last: bool = False
    ) -> list[States]:
        """As `feed`, with hidden states of `layers` (see `abilities.HiddenSession`)."""
        return self._feed(tokens, last, layers)

    @torch.no_grad()
    def layer_logits(
        self, hidden: Float[Tensor, "*shape size"], *, norm: bool = False
    ) -> Float[Tensor, "*shape vocab"]:
        """Float32 logits that the output head gives for hidden states; with `norm` the final norm comes first."""
        return readout_of(self.model)(hidden, norm)

    @torch.no_grad()
    def _feed(self, tokens: Sequence[Sequence[int]], last: bool, layers: Sequence[int] | None) -> list[States]:
        """Logits of each row, and hidden states if `layers` are asked for."""
        self.model.check_feed([len(row.tokens) for row in self.rows], tokens)
        begun = time.perf_counter()
        found = [
            self._read(row, new, last, layers) if len(new) else no_states(self.model, len(layers or ()))
            for row, new in zip(self.rows, tokens, strict=True)
        ]
        self.meter.add(tokens, last, time.perf_counter() - begun)
        return found

    def _read(self, row: _Kept, new: Sequence[int], last: bool, layers: Sequence[int] | None) -> States:
        row.tokens.extend(new)
        unread = row.tokens[row.read :]
        pieces = [[token] for token in unread] if self.single and row.state is not None else [unread]
        outs = [self._forward(row, piece, layers is not None) for piece in pieces]
        logits = torch.cat([out.logits[0] for out in outs])[-1 if last else -len(new) :].float()
        if layers is None:
            return States(logits, logits[:0])
        by_layer = zip(*(out.hidden_states for out in outs), strict=True)
        return states_of(logits, [torch.cat(parts, 1)[0] for parts in by_layer], layers)

    def _forward(self, row: _Kept, piece: list[int], hidden: bool) -> Any:
        ids = torch.tensor([piece], device=self.model.device)
        given = self.keeper.arguments(row.state, ids)
        places = torch.arange(row.read, row.read + len(piece), device=ids.device)
        if (
            "position_ids" in self.model.arguments and not self.own_places
        ):  # not every module counts what its state has read
            given["position_ids"] = places[None]
        if "cache_position" in self.model.arguments:
            given["cache_position"] = places
        if hidden:
            given["output_hidden_states"] = True
        out = self.model.module(input_ids=ids, **given)
        row.state = self.keeper.taken(out, given)
        if row.state is not None:
            row.read += len(piece)
        return out

    def rollback(self, lengths: Sequence[int]) -> None:
        for row, length in zip(self.rows, lengths, strict=True):
            if length < len(row.tokens):
                row.tokens, row.state, row.read = row.tokens[:length], None, 0

    def admit(self, rows: int) -> RowSession:
        self.rows += [_Kept() for _ in range(rows)]
        self.meter.admit(rows)
        return self

    def select(self, rows: Sequence[int]) -> RowSession:
        repeated = len(set(rows)) < len(rows)
        self.rows = [copy.deepcopy(self.rows[row]) if repeated else self.rows[row] for row in rows]
        self.meter.select(rows)
        return self

    def spent(self) -> list[dict[str, Usage]]:
        return self.meter.spent()
