"""One session and its rows: each step feeds what every row has not read yet, and draws a token where that was all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import isfinite, isnan

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadCheckpoint, ConsortError
from consort.core.prefix import shared_prefix
from consort.core.types import Sampling, Usage
from consort.models.abilities import able
from consort.models.decoding.decode import completion_of, finish, full_rows, notes_of
from consort.models.decoding.grammar import Mask
from consort.models.decoding.sampling import adjusted, distribution, draw, uniform
from consort.models.token_model import TokenModel
from consort.server.scheduler.ticket import Done, Failed, Piece, Slot, Ticket, Told

LEAST_SHARED = 8
"""Fewest tokens of a prompt that are worth taking over from another row."""


class Group:
    """Rows of one model on one session. Where sessions grow, rows join at any step and prompts are read in portions."""

    def __init__(self, model: TokenModel, slots: Sequence[Slot], *, portion: int, idle: int) -> None:
        self.model, self.portion = model, portion
        self.slots: list[Slot] = list(slots)
        self.session = model.open(len(self.slots))
        self.grows = able(self.session, "admit")
        self.idle = idle if self.grows else 0
        self.clock = 0
        self.lonely = False
        """Made of a row whose group failed."""

    @property
    def busy(self) -> list[int]:
        return [i for i, slot in enumerate(self.slots) if slot.ticket is not None]

    @property
    def tokens(self) -> int:
        """Tokens that rows at work hold or may come to hold."""
        return sum(len(s.row.prompt) + s.row.limit for s in self.slots if s.ticket is not None)

    def admit(self, new: Sequence[Slot]) -> None:
        """Rows for these slots: idle ones that have read the same beginning, other idle ones, or new ones.

        A beginning that a row at work shares is copied, where the session can copy.
        """
        lengths = [len(slot.read) for slot in self.slots]
        fresh: list[Slot] = []
        copies: list[tuple[int, int, int]] = []
        spent = self.session.spent() if any(s.ticket is None for s in self.slots) else []
        givers = self.busy if self.idle and able(self.session, "copy") else []
        for slot in new:
            place, shared = self._donor(slot)
            giver, more = self._sharing(slot, givers)
            at = len(self.slots) + len(fresh) if place is None else place
            kept = shared
            if giver is not None and more >= LEAST_SHARED and more > shared:
                copies.append((giver, at, more))
                kept, shared = 0, more
            slot.read, slot.unread, slot.cached = slot.unread[:shared], slot.unread[shared:], shared
            slot.plain = place is None and not shared
            if place is None:
                fresh.append(slot)
            else:
                slot.at_start, self.slots[place], lengths[place] = spent[place], slot, kept
        if lengths != [len(slot.read) for slot in self.slots] or len(fresh) < len(new):
            self.session.rollback(lengths)
        if fresh:
            self.session = self.session.admit(len(fresh))  # type: ignore[attr-defined]
            self.slots += fresh
        for giver, at, count in copies:
            self.session.copy_beginning(giver, at, count)  # type: ignore[attr-defined]

    def _donor(self, slot: Slot) -> tuple[int | None, int]:
        """An idle row to go on from, and how much of it; rows are kept for others as long as there are few."""
        resting = [i for i, other in enumerate(self.slots) if other.ticket is None]
        best, shared = self._sharing(slot, resting)
        if best is not None and shared >= LEAST_SHARED:
            return best, shared
        if len(resting) >= max(1, self.idle):
            return min(resting, key=lambda i: self.slots[i].used), 0
        return None, 0

    def _sharing(self, slot: Slot, rows: Sequence[int]) -> tuple[int | None, int]:
        """Which of these rows has read most of what the slot is to read, and how much; one token is left to read."""
        best, shared = None, 0
        for i in rows:
            same = min(shared_prefix(self.slots[i].read, slot.unread), len(slot.unread) - 1)
            if same > shared:
                best, shared = i, same
        return best, shared

    def step(self) -> None:
        """One pass of the model for all rows at work. Whatever fails is the fault of rows that `fail` tells."""
        self.clock += 1
        for i in self.busy:
            slot = self.slots[i]
            if slot.ticket is not None and slot.ticket.cancelled:
                self._leave(slot, "cancelled")
        busy = self.busy
        if busy:
            feed = self._feed(busy)
            logits = self.session.feed(feed, last=True)
            full = full_rows(self.session, len(self.slots))
            drawn = []
            for i in busy:
                slot = self.slots[i]
                slot.read += feed[i]
                if not slot.unread:
                    drawn.append(i)
            self._after_prompts(drawn)
            for i in drawn:
                if full[i]:
                    self.slots[i].row.finish = "length"
            self._draw([i for i in drawn if not self.slots[i].row.finish], logits)
            self._tell(drawn)
        self._tidy()

    def _feed(self, busy: Sequence[int]) -> list[list[int]]:
        """The last token of every row that is decoded, and a portion of the prompts that are not read yet."""
        feed: list[list[int]] = [[] for _ in self.slots]
        waiting = [i for i in busy if self.slots[i].unread]
        room = self.portion if self.grows and len(waiting) < len(busy) else 2**60
        if self.grows:
            room = min(room, max(self.portion, self.model.batch_tokens))
        for i in busy:
            slot = self.slots[i]
            if not slot.unread:
                feed[i] = slot.row.tokens[-1:]
                continue
            feed[i], slot.unread = slot.unread[:room], slot.unread[room:]
            slot.plain = slot.plain and not slot.unread
            room -= len(feed[i])
        return feed

    def _after_prompts(self, drawn: Sequence[int]) -> None:
        """Keep the account of rows whose prompt has just been read."""
        new = [i for i in drawn if self.slots[i].after_prompt is None]
        if any(not self.slots[i].plain for i in new):
            spent = self.session.spent()
            for i in new:
                self.slots[i].after_prompt = spent[i]
        for i in new:
            if self.slots[i].after_prompt is None:
                self.slots[i].after_prompt = {}

    def _draw(self, rows: Sequence[int], logits: Sequence[Float[Tensor, "one vocab"]]) -> None:
        rows = [i for i in rows if self.slots[i].ticket is not None and self._can_go_on(i, logits[i].shape[-1])]
        rows = [i for i in rows if self.slots[i].ticket is not None]
        if not rows:
            return
        joint = torch.cat([logits[i] for i in rows])
        chosen = torch.empty(len(rows), dtype=torch.long, device=joint.device)
        kinds: dict[Sampling | None, list[int]] = defaultdict(list)
        for at, i in enumerate(rows):
            kinds[self._ticket(i).kind].append(at)
        for kind, places in kinds.items():
            own = joint if len(places) == len(rows) else joint[places]
            slots = [self.slots[rows[at]] for at in places]
            chosen[places] = own.argmax(-1) if kind is None else self._drawn(own, kind, slots)
        logprobs = joint.log_softmax(-1)
        picked = logprobs.gather(-1, chosen.unsqueeze(-1)).squeeze(-1).tolist()
        for at, (i, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            self._enter(i, token, picked[at], logprobs[at])

    def _can_go_on(self, row: int, width: int) -> bool:
        """Whether the row's grammar, if it has one, leaves a token; else its ticket fails, and no other."""
        ticket = self._ticket(row)
        if not isinstance(ticket.sampling.grammar, Mask):
            return True
        try:
            ticket.sampling.grammar.allowed(self.slots[row].row.tokens, width)
        except ConsortError as error:
            self.fail(ticket, error)
            return False
        return True

    def _enter(self, row: int, token: int, logprob: float, logprobs: Float[Tensor, " vocab"]) -> None:
        """One more token of a row's answer."""
        slot, ticket = self.slots[row], self.slots[row].ticket
        if ticket is None:  # another row of the same ticket has failed
            return
        if isnan(logprob):
            hint = "look for NaN in its weights"
            self.fail(ticket, BadCheckpoint("gives logits that are not numbers", field=self.model.name, hint=hint))
            return
        slot.row.tokens.append(token)
        slot.row.logprobs.append(logprob)
        if ticket.top is not None:
            slot.told.append(told_of(token, logprob, logprobs, ticket.top))
        finish(self.model, slot.row, ticket.sampling)

    def _drawn(self, logits: Float[Tensor, "row vocab"], kind: Sampling, slots: Sequence[Slot]) -> Tensor:
        prompts, answers = [s.row.prompt for s in slots], [s.row.tokens for s in slots]
        scores = adjusted(logits, kind, prompts, answers, self.model.ends)
        if kind.temperature == 0:
            return scores.argmax(-1)
        return draw(distribution(scores, kind), [uniform(s.row.key, len(s.row.tokens)) for s in slots])

    def _ticket(self, row: int) -> Ticket:
        ticket = self.slots[row].ticket
        assert ticket is not None
        return ticket

    def _tell(self, rows: Sequence[int]) -> None:
        """Pieces of the rows that go on, answers of those that are finished."""
        for i in rows:
            slot = self.slots[i]
            if slot.ticket is None:
                continue
            if slot.row.finish:
                self._leave(slot, slot.row.finish)
            elif slot.ticket.pieces:
                text = slot.fresh_text()
                if text:
                    slot.ticket.emit(Piece(slot.number, text, tuple(slot.told[slot.sent_told :])))
                    slot.sent_told = len(slot.told)

    def _leave(self, slot: Slot, reason: str) -> None:
        """The row's answer is what it is; the row becomes idle."""
        ticket, row, place = slot.ticket, slot.row, self.slots.index(slot)
        assert ticket is not None
        row.finish = reason
        spent, notes = self.session.spent()[place], notes_of(self.session, len(self.slots))[place]
        row.cost, row.notes = self._cost(slot, spent), notes
        slot.ticket, slot.used = None, self.clock
        completion = completion_of(self.model, row)
        rest = slot.rest(completion.text)
        if ticket.pieces and rest:
            ticket.emit(Piece(slot.number, rest, tuple(slot.told[slot.sent_told :])))
        ticket.left -= 1
        ticket.emit(Done(slot.number, completion, tuple(slot.told), slot.cached))

    def _cost(self, slot: Slot, spent: dict[str, Usage]) -> dict[str, Usage]:
        """What the row's answer cost: its session's own account, where that counts nothing of others."""
        if slot.plain or slot.after_prompt is None:
            return spent
        found = {}
        for name, end in spent.items():
            before = slot.at_start.get(name, Usage())
            middle = slot.after_prompt.get(name, before)
            read = middle.total_tokens - before.total_tokens - (0 if slot.at_start else 1)
            written = end.total_tokens - middle.total_tokens + 1
            found[name] = Usage(max(read, 0), written, 1, end.seconds - before.seconds)
        return found

    def fail(self, ticket: Ticket, error: Exception) -> None:
        """All rows of a ticket end without an answer."""
        for slot in self.slots:
            if slot.ticket is ticket:
                slot.ticket, slot.used = None, self.clock
                slot.read = []
        ticket.left = 0
        ticket.cancelled = True
        ticket.emit(Failed(error))

    def _tidy(self) -> None:
        """Idle rows beyond those that are kept for their beginnings leave."""
        resting = [i for i, slot in enumerate(self.slots) if slot.ticket is None]
        most = self.idle if self.grows else (len(self.slots) if len(resting) < 0.25 * len(self.slots) else 0)
        if len(resting) <= most or len(resting) - most < 0.25 * len(self.slots) or len(resting) == len(self.slots):
            return
        gone = set(sorted(resting, key=lambda i: self.slots[i].used)[: len(resting) - most])
        order = [i for i in range(len(self.slots)) if i not in gone]
        self.session = self.session.select(order)
        self.slots = [self.slots[i] for i in order]


def told_of(token: int, logprob: float, row: Float[Tensor, " vocab"], top: int) -> Told:
    """A token with the likeliest ones in its place, all from the same numbers; minus infinity is left out."""
    values, ids = row.topk(min(top, row.shape[-1])) if top else (row[:0], row[:0])
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return Told(token, logprob if isfinite(logprob) else None, tuple((i, v) for i, v in pairs if isfinite(v)))
