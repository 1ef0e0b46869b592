"""The messages of a masked round: what a client answers to each, wherever it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from consort.core.errors import BadData
from consort.federate.clients.client import Client
from consort.federate.sampling import seed_of
from consort.federate.secure.fields import Words
from consort.federate.secure.party import Party
from consort.federate.state import State, Update
from consort.federate.wire import Message, task_of, update_message

MASKED_KINDS = ("prepare", "keys", "shares", "masked", "reveal")


class Answering:
    """A client that answers messages: plain tasks, and the steps of a masked round in their order."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.update: Update | None = None
        self.base: State = {}
        self.party: Party | None = None
        self.seed = 0

    @property
    def id(self) -> str:
        return self.client.id

    def exchange(self, message: Message) -> Message:
        """The answer to one message. Raises BadData for one that is out of order."""
        if message.kind == "fit":
            state, task = task_of(message)
            return update_message(self.client.fit(state, task), task.stamp)
        if message.kind == "prepare":
            return self._prepared(message)
        if self.party is None or self.update is None or message.kind not in MASKED_KINDS:
            raise BadData(f"{message.kind[:40]!r} is not what comes next", field=self.id, hint="begin a new round")
        step = {"keys": self._keys, "shares": self._shares, "masked": self._masked, "reveal": self._reveal}
        return step[message.kind](dict(message.meta), self.party, self.update)

    def _prepared(self, message: Message) -> Message:
        state, task = task_of(message)
        self.update, self.base = self.client.fit(state, task), {name: state[name] for name in state}
        self.party, self.seed = Party(self.id, task.stamp.rpartition(":")[0]), seed_of(task.seed, "rounding")
        own = self.update
        return Message("prepared", {"samples": own.samples, "metrics": dict(own.metrics)})

    def _keys(self, meta: dict[str, Any], party: Party, update: Update) -> Message:
        return Message("keys", {"keys": [key.hex() for key in party.public()]})

    def _shares(self, meta: dict[str, Any], party: Party, update: Update) -> Message:
        everybody = {id: public_of(pair) for id, pair in meta["everybody"].items()}
        found = party.shares(everybody, int(meta["threshold"]))
        return Message("shares", {"shares": {id: text.hex() for id, text in found.items()}})

    def _masked(self, meta: dict[str, Any], party: Party, update: Update) -> Message:
        words = party.masked(
            update.state,
            self.base,
            present=meta["present"],
            weights=meta["weights"],
            bound=float(meta["bound"]),
            clip=meta["clip"],
            seed=self.seed,
        )
        return Message("masked", {}, {"words": torch.from_numpy(words.view(np.int32).copy())})

    def _reveal(self, meta: dict[str, Any], party: Party, update: Update) -> Message:
        sealed = {id: bytes.fromhex(text) for id, text in meta["sealed"].items()}
        found = party.reveal(meta["present"], meta["left"], sealed)
        return Message("reveal", {"shares": {id: text.hex() for id, text in found.items()}})


def public_of(pair: Any) -> tuple[bytes, bytes]:
    """Two public keys as they are written."""
    one, other = pair
    return bytes.fromhex(one), bytes.fromhex(other)


def words_of(message: Message, count: int) -> Words:
    """The masked numbers of a client. Raises BadData unless they are `count` of 32 bits."""
    found = message.tensors["words"] if "words" in message.tensors else torch.empty(0)
    if found.shape != (count,) or found.dtype != torch.int32:
        raise BadData(f"sent {list(found.shape)} of {found.dtype} as its masked numbers", field="masked")
    words: Words = found.numpy().view(np.uint32)
    return words
