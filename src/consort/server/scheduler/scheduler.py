"""The scheduler: one thread in which all local models work, step by step, in turn."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from consort.core.types import Completion, Prompt, Sampling
from consort.models.decoding.decode import Row, rows_of
from consort.models.decoding.grammar import bound
from consort.models.token_model import TokenModel
from consort.server.scheduler.group import Group
from consort.server.scheduler.ticket import Done, Emit, Event, Failed, Piece, Slot, Ticket

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Work:
    """What one model has to do."""

    groups: list[Group] = field(default_factory=list)
    waiting: deque[Slot] = field(default_factory=deque)


class Scheduler:
    """Rows of all requests, batched by model.

    A step of a model reads a `portion` of the prompts that wait beside the rows that are decoded, so that these do not
    stall. At work are rows that hold or may come to hold `most_tokens` at most (None: four of the model's own batches);
    others wait in order. `idle` finished rows are kept, whose beginnings later prompts need not read again (0: none).
    """

    def __init__(self, *, portion: int = 512, most_tokens: int | None = None, idle: int = 8) -> None:
        self.portion, self.most_tokens, self.idle = portion, most_tokens, idle
        self._work: dict[int, _Work] = {}
        self._models: dict[int, TokenModel] = {}
        self._new: deque[Ticket] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.steps = 0

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="consort-scheduler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; what is under way fails."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(5)

    def submit(self, ticket: Ticket) -> None:
        """Rows that are to be decoded; tells by `ticket.emit`, from the scheduler's thread."""
        with self._wake:
            if self._closing or self._thread is None:
                raise RuntimeError("the scheduler does not run")
            self._new.append(ticket)
            self._wake.notify()

    def call(self, work: Callable[[], T]) -> Future[T]:
        """`work`, done in the scheduler's thread between two steps."""
        future: Future[T] = Future()
        with self._wake:
            self._calls.append((work, future))
            self._wake.notify()
        return future

    def cancel(self, ticket: Ticket) -> None:
        """Its rows leave before the next step."""
        ticket.cancelled = True

    @property
    def at_work(self) -> int:
        """Rows that are decoded or wait."""
        works = list(self._work.values())
        return sum(len(work.waiting) + sum(len(group.busy) for group in work.groups) for work in works)

    def ticket(
        self,
        model: TokenModel,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        emit: Emit,
        *,
        pieces: bool = False,
        top: int | None = None,
    ) -> Ticket:
        """A ticket for prompts, checked as `decode.generate` checks them: this raises what that raises."""
        rows = rows_of(model, prompts, sampling)
        return Ticket(model, rows, bound(sampling, model), emit, pieces, top)

    def generate(
        self,
        model: TokenModel,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        cancelled: Callable[[], bool] = bool,
        on_piece: Callable[[Event], None] | None = None,
    ) -> list[Completion]:
        """As `model.generate`, in the batch of all others; blocks the calling thread."""
        found: dict[int, Completion] = {}
        done, failed = threading.Event(), []

        def emit(event: Event) -> None:
            if isinstance(event, Done):
                found[event.row] = event.completion
            elif isinstance(event, Failed):
                failed.append(event.error)
            elif on_piece is not None:
                on_piece(event)
            if failed or len(found) == len(prompts):
                done.set()

        ticket = self.ticket(model, prompts, sampling, emit, pieces=on_piece is not None)
        if not ticket.rows:
            return []
        self.submit(ticket)
        while not done.wait(0.05):
            if cancelled():
                self.cancel(ticket)
        if failed:
            raise failed[0]
        return [found[i] for i in range(len(prompts))]

    def stream(
        self, model: TokenModel, prompt: Prompt, sampling: Sampling, *, cancelled: Callable[[], bool] = bool
    ) -> Generator[str, None, Completion]:
        """As `model.stream`, in the batch of all others; blocks the calling thread between pieces."""
        events: queue.Queue[Event] = queue.Queue()
        ticket = self.ticket(model, [prompt], sampling, events.put, pieces=True)
        self.submit(ticket)
        try:
            while True:
                try:
                    event = events.get(timeout=0.05)
                except queue.Empty:
                    ticket.cancelled = ticket.cancelled or cancelled()
                    continue
                if isinstance(event, Piece):
                    yield event.text
                elif isinstance(event, Failed):
                    raise event.error
                else:
                    return event.completion
        finally:
            ticket.cancelled = True

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._closing or self._new or self._calls or self._active()):
                    self._wake.wait()
                if self._closing:
                    break
                new, calls = list(self._new), list(self._calls)
                self._new.clear()
                self._calls.clear()
            for work, future in calls:
                _answer(work, future)
            for ticket in new:
                self._enter(ticket)
            for key in list(self._work):
                self._step(key)
        self._end()

    def _active(self) -> bool:
        return any(work.waiting or any(group.busy for group in work.groups) for work in self._work.values())

    def _enter(self, ticket: Ticket) -> None:
        key = id(ticket.model)
        self._models[key] = ticket.model  # kept, so that no other object has its id
        work = self._work.setdefault(key, _Work())
        for number, row in enumerate(ticket.rows):
            if row.limit:
                work.waiting.append(Slot(ticket, number, row, unread=list(row.prompt)))
            else:
                self._empty(ticket, number, row)

    def _empty(self, ticket: Ticket, number: int, row: Row) -> None:
        """An answer of no token."""
        from consort.models.decoding.decode import completion_of

        row.finish = "length"
        ticket.left -= 1
        ticket.emit(Done(number, completion_of(ticket.model, row)))

    def _step(self, key: int) -> None:
        work = self._work[key]
        self._admit(self._models[key], work)
        for group in list(work.groups):
            if not group.busy:
                continue
            self.steps += 1
            try:
                group.step()
            except Exception as error:  # whoever it concerns is told; the others go on
                work.groups.remove(group)
                self._apart(work, group, error)
        kept = [group for group in work.groups if group.busy or (group.grows and group.idle and not group.lonely)]
        work.groups = kept[:1] + [group for group in kept[1:] if group.busy]

    def _admit(self, model: TokenModel, work: _Work) -> None:
        """Rows that wait, in order, as far as there is room."""
        while work.waiting and (work.waiting[0].ticket is None or work.waiting[0].ticket.cancelled):
            self._drop(work.waiting.popleft())
        if not work.waiting:
            return
        most = self.most_tokens or 4 * model.batch_tokens
        held = sum(group.tokens for group in work.groups)
        new: list[Slot] = []
        while work.waiting:
            slot = work.waiting[0]
            size = len(slot.row.prompt) + min(slot.row.limit, 256)
            if (held or new) and held + size > most:
                break
            work.waiting.popleft()
            if slot.ticket is None or slot.ticket.cancelled:
                self._drop(slot)
                continue
            held += size
            new.append(slot)
        if not new:
            return
        home = next((group for group in work.groups if group.grows and not group.lonely), None)
        try:
            if home is not None:
                home.admit(new)
            else:
                work.groups.append(Group(model, new, portion=self.portion, idle=self.idle))
        except Exception as error:
            if home is not None:
                work.groups.remove(home)
                new = [*new, *(slot for slot in home.slots if slot.ticket is not None and slot not in new)]
            self._fail_all(new, error)

    def _drop(self, slot: Slot) -> None:
        ticket = slot.ticket
        if ticket is not None and ticket.left:
            from consort.models.decoding.decode import completion_of

            slot.row.finish = "cancelled"
            ticket.left -= 1
            ticket.emit(Done(slot.number, completion_of(ticket.model, slot.row)))

    def _apart(self, work: _Work, group: Group, error: Exception) -> None:
        """After a failure: each row of the group alone, from its beginning; one that was alone has failed."""
        slots = [slot for slot in group.slots if slot.ticket is not None]
        if len(slots) <= 1:
            self._fail_all(slots, error)
            return
        log.warning("%s: a step failed (%s); its %d rows go on apart", group.model.name, error, len(slots))
        for slot in slots:
            slot.read, slot.unread = [], [*slot.row.prompt, *slot.row.tokens]
            slot.plain, slot.at_start, slot.after_prompt, slot.cached = False, {}, None, 0
            try:
                alone = Group(group.model, [slot], portion=self.portion, idle=0)
                alone.lonely = True
                work.groups.append(alone)
            except Exception as fault:
                self._fail_all([slot], fault)

    def _fail_all(self, slots: Sequence[Slot], error: Exception) -> None:
        for slot in slots:
            ticket, slot.ticket = slot.ticket, None
            if ticket is not None and ticket.left:
                ticket.left, ticket.cancelled = 0, True
                ticket.emit(Failed(error))

    def _end(self) -> None:
        error = RuntimeError("the server stops")
        for work in self._work.values():
            self._fail_all([*work.waiting, *(slot for group in work.groups for slot in group.slots)], error)
        for ticket in self._new:
            ticket.emit(Failed(error))
        for _, future in self._calls:
            future.cancel()


def _answer(work: Callable[[], T], future: Future[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
