"""The way of one request through the replicas: on where one fails, and around again while there is patience."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from consort.core.counted import counted
from consort.core.errors import ConsortError, EnvironmentFailure, UnknownName, listing
from consort.models.remote.failures import Unanswered
from consort.models.remote.replicas.board import Board, Standing
from consort.models.remote.ways import Way

LEAST_S = 0.02
"""Shortest pause after a replica has said that it is busy."""


class Errand:
    """One request. A replica that fails is passed over until all have; that happens `retries` times more.

    Between rounds it waits 0.5, 1, 2 … seconds. A busy replica is passed over, and waited for where all are: altogether
    `timeout_s` at most.
    """

    def __init__(self, board: Board, way: Way, *, bounded: bool = True) -> None:
        self.board, self.way, self.bounded = board, way, bounded
        self.settings = board.standings[0].model.settings
        self.failed: set[Standing] = set()
        self.moved: set[Standing] = set()
        self.rounds, self.busy, self.waited_s = 0, 0, 0.0

    async def next(self) -> Standing:
        """Who is asked next; to be left by `at`. Raises the error of all where there is nobody."""
        while True:
            found = self.board.take(self.failed, bounded=self.bounded)
            if isinstance(found, Standing):
                return found
            if isinstance(found, Future):
                await self.way.until(found)
            elif found is not None:
                await self._wait(found)
            else:
                await self._begin_again()

    async def _wait(self, seconds: float) -> None:
        """For a busy replica. Raises its error where it asks for too long."""
        self.waited_s += seconds
        if self.waited_s > float(self.settings["timeout_s"]):
            raise self.nobody()
        await self.way.pause(seconds)

    async def _begin_again(self) -> None:
        """After all have failed. Raises the error of all where there is no patience left, or nobody to be asked."""
        if self.rounds >= int(self.settings["retries"]) or all(one.is_out for one in self.board.standings):
            raise self.nobody()
        self.rounds += 1
        await self.way.pause(0.5 * 2 ** min(self.rounds - 1, 5))
        self.failed.clear()

    @contextmanager
    def at(self, standing: Standing) -> Iterator[None]:
        """Within it `standing` is asked; what it fails in is noted and not raised. What is the request's fault is."""
        try:
            yield
        except Unanswered as fault:
            self._failed(standing, fault)
        except (EnvironmentFailure, UnknownName) as fault:  # the key, the account, the name: no other try mends that
            self._enter(standing, fault)
            self.board.note_fault(standing, fault, 0.0, is_final=True)
        else:
            self.board.note_answer(standing)
            for one in self.moved - {standing}:
                self.board.note_moved(one)
        finally:
            self.board.release(standing)

    def _failed(self, standing: Standing, fault: Unanswered) -> None:
        if fault.is_busy:
            asked = 0.5 * 2 ** min(self.busy, 5) if fault.wait is None else fault.wait
            self.busy += 1
            self.board.note_busy(standing, fault, max(asked, LEAST_S))
            return
        self._enter(standing, fault)
        self.board.note_fault(standing, fault, fault.wait or 0.0, is_final=False)

    def _enter(self, standing: Standing, fault: ConsortError) -> None:
        self.failed.add(standing)
        self.moved.add(standing)

    def nobody(self) -> ConsortError:
        """The error of a request that no replica answers."""
        faults = [(one.url, told) for one in self.board.standings if (told := one.fault or one.busy) is not None]
        kinds = {UnknownName if isinstance(fault, UnknownName) else EnvironmentFailure for _, fault in faults}
        kind = kinds.pop() if len(kinds) == 1 else EnvironmentFailure
        what = f"none of its {counted(len(self.board.standings), 'replica')} answers: "
        said = listing(f"{url}: {fault.message}" for url, fault in faults)
        hint = next((fault.hint for _, fault in faults if fault.hint), None)
        return kind(what + said, field=self.board.standings[0].model.name, hint=hint)
