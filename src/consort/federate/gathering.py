"""Updates of one round: asked for, checked, kept in files; who is late or sends what cannot be counted is left out."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar

from consort.core.errors import BadData, ConsortError
from consort.core.guard import told
from consort.federate.checking import check_update
from consort.federate.clients.client import Client, RoundTask
from consort.federate.state import FileState, State, Update, clipped, trained_names
from consort.federate.wire import read_message, update_message, update_of, write_message

C = TypeVar("C", bound="Named")
T = TypeVar("T")
LATE = "no answer within the deadline"


class Named(Protocol):
    """Whoever is asked."""

    @property
    def id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Gathered:
    """Updates that count, who answered, and who was left out and why. A sum stands for all who answered."""

    updates: Sequence[Update] = ()
    answered: Sequence[str] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counting:
    """How updates are kept and when they count (see `rounds.Rounds`)."""

    folder: Path | None = None
    workers: int = 1
    deadline_s: float | None = None
    max_norm: float = 1e6
    clip: float | None = None
    mixed_ranks: bool = False


def gather(clients: Sequence[Client], state: State, tasks: Mapping[str, RoundTask], how: Counting) -> Gathered:
    """Ask the clients, `workers` at once, and check what they answer. An error of one client excludes that client."""
    kept = {c.id: update for c in clients if (update := _kept(c.id, tasks[c.id], how)) is not None}
    left = [client for client in clients if client.id not in kept]
    updates, excluded = dict(kept), dict[str, str]()
    for id, answer in asked_each(left, lambda client: _answer(client, state, tasks[client.id], how), how).items():
        if isinstance(answer, str):
            excluded[id] = answer
        else:
            updates[id] = answer
    counted = []
    names = trained_names(state)
    for id in sorted(updates):
        try:
            if updates[id].client != id:
                raise BadData(f"says that it is {updates[id].client[:60]!r}", field=id)
            check_update(updates[id], state, mixed_ranks=how.mixed_ranks, max_norm=how.max_norm)
        except ConsortError as fault:
            excluded[id] = fault.message
            _forget(id, how)
            continue
        update = updates[id]
        if how.clip is not None:
            update = replace(update, state=clipped(update.state, state, how.clip, names))
        counted.append(update)
    return Gathered(counted, [update.client for update in counted], excluded)


def _file(id: str, how: Counting) -> Path | None:
    return None if how.folder is None else how.folder / f"{id}.safetensors"


def _forget(id: str, how: Counting) -> None:
    file = _file(id, how)
    if file is not None:
        file.unlink(missing_ok=True)


def _kept(id: str, task: RoundTask, how: Counting) -> Update | None:
    """An update that had arrived before a kill."""
    file = _file(id, how)
    if file is None or not file.is_file():
        return None
    try:
        return update_of(read_message(file), task.stamp)
    except ConsortError:
        file.unlink()
        return None


def _answer(client: Client, state: State, task: RoundTask, how: Counting) -> Update:
    update = client.fit(state, task)
    file = _file(client.id, how)
    if file is None:
        return update
    if isinstance(update.state, FileState) and update.state.path.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        os.replace(update.state.path, file)
    else:
        write_message(file, update_message(update, task.stamp))
    return update_of(read_message(file), task.stamp)


def _guarded(client: C, answer: Callable[[C], T]) -> T | str:
    try:
        return answer(client)
    except ConsortError as fault:
        if fault.exit_code != 2:
            raise
        return fault.message
    except Exception as fault:  # a client's own failure; it is told in the round's line
        return told(fault)


def asked_each(clients: Sequence[C], answer: Callable[[C], T], how: Counting) -> dict[str, T | str]:
    """Every client's answer, or why there is none, as text; `how.workers` at once, within `how.deadline_s`."""
    if how.workers == 1 and how.deadline_s is None:
        return {client.id: _guarded(client, answer) for client in clients}
    waiting: queue.SimpleQueue[C] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, T | str | BaseException]] = queue.SimpleQueue()
    for client in clients:
        waiting.put(client)

    def work() -> None:
        while True:
            try:
                client = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((client.id, _guarded(client, answer)))
            except BaseException as fault:
                done.put((client.id, fault))

    for _ in range(min(how.workers, len(clients))):
        threading.Thread(target=work, daemon=True).start()
    end = None if how.deadline_s is None else time.monotonic() + how.deadline_s
    return _collected([client.id for client in clients], done, end)


def _collected(
    ids: Sequence[str], done: queue.SimpleQueue[tuple[str, T | str | BaseException]], end: float | None
) -> dict[str, T | str]:
    found: dict[str, T | str] = {}
    while len(found) < len(ids):
        try:
            left = None if end is None else max(0.0, end - time.monotonic())
            id, answer = done.get(timeout=left)
        except queue.Empty:
            return dict.fromkeys((id for id in ids if id not in found), LATE) | found
        if isinstance(answer, BaseException):
            raise answer
        found[id] = answer
    return found
