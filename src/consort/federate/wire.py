"""Messages as bytes: one safetensors document, its tensors and a JSON text beside them; never a pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from consort.core.errors import BadData
from consort.core.files import write_atomic
from consort.federate.clients.client import RoundTask
from consort.federate.state import FileState, State, Update, joined

META = "consort"
MOST_META = 1 << 20
"""Bytes of the JSON text of a message."""


@dataclass(frozen=True, slots=True)
class Message:
    """A kind of message, plain values, and tensors."""

    kind: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    tensors: State = field(default_factory=dict)

    def packed(self) -> bytes:
        text = json.dumps({"kind": self.kind, **self.meta}, allow_nan=False)
        whole: bytes = save(
            {name: self.tensors[name].detach().contiguous() for name in sorted(self.tensors)}, metadata={META: text}
        )
        return whole


def read_message(path: Path) -> Message:
    """The message in a file, its tensors read when they are asked for. Raises BadData."""
    tensors = FileState(path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(META, "")
        found = json.loads(text[:MOST_META], parse_constant=lambda name: math.nan)
        kind = found.pop("kind")
    except (SafetensorError, ValueError, KeyError, AttributeError, RecursionError):
        raise BadData("holds no message", field=path.name, hint="send what `consort federate join` sends") from None
    return Message(str(kind), found, tensors)


def write_message(path: Path, message: Message) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, message.packed())


def task_message(state: State, task: RoundTask) -> Message:
    """What a client is asked."""
    names = ("round", "seed", "accepted", "stamp")
    meta = {name: getattr(task, name) for name in names} | {"aggregator": dict(task.aggregator)}
    return Message("fit", meta, joined(state=state, received=task.received))


def task_of(message: Message) -> tuple[State, RoundTask]:
    """The state and the task of such a message."""
    meta = dict(message.meta)
    return part(message.tensors, "state"), RoundTask(**meta, received=part(message.tensors, "received"))


def update_message(update: Update, stamp: str) -> Message:
    """A client's answer to the task of that stamp."""
    names = ("client", "samples", "steps", "lr")
    meta = {name: getattr(update, name) for name in names} | {"metrics": dict(update.metrics), "stamp": stamp}
    return Message("update", meta, joined(state=update.state, aux=update.aux))


def update_of(message: Message, stamp: str) -> Update:
    """The update of such a message. Raises BadData for the answer to another task."""
    meta = message.meta
    if message.kind != "update":
        raise BadData(f"is no update, but {message.kind[:40]!r}", field="upload", hint="answer the task that was set")
    if meta.get("stamp") != stamp:
        raise BadData("answers another round (a replay)", field="upload", hint="answer the task that was set")
    try:
        metrics = {str(name): float(value) for name, value in dict(meta["metrics"]).items()}
        numbers = int(meta["samples"]), int(meta["steps"]), float(meta["lr"])
        name = str(meta["client"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadData("its numbers cannot be read", field="upload", hint="send samples, steps, lr, metrics") from None
    return Update(name, part(message.tensors, "state"), *numbers, part(message.tensors, "aux"), metrics)


def part(tensors: State, prefix: str) -> State:
    """The tensors under a prefix; still in their file if they are in one."""
    if isinstance(tensors, FileState):
        return FileState(tensors.path, f"{prefix}/")
    return {name.removeprefix(f"{prefix}/"): tensors[name] for name in tensors if name.startswith(f"{prefix}/")}
