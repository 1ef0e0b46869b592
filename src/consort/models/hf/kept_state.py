"""Where a module keeps what it has read: in an object that it takes and returns, or in its own parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache


class Keeper(Protocol):
    """Lends a state to a pass and takes back what the pass has made of it; None is the state of an empty text."""

    def arguments(self, state: Any, ids: Tensor) -> dict[str, Any]:
        """What `forward` is given beside the tokens `ids` of a text that goes on from `state`."""

    def taken(self, out: Any, given: dict[str, Any]) -> Any:
        """The state after a pass."""


class Nothing:
    """For modules that keep nothing."""

    def arguments(self, state: Any, ids: Tensor) -> dict[str, Any]:
        return {"use_cache": False}

    def taken(self, out: Any, given: dict[str, Any]) -> Any:
        return None


@dataclass(frozen=True, slots=True)
class Passed:
    """The state is the argument `name` of `forward`, and the output of that name returns it.

    With `maker`, a module, the first state is made by its `prepare_inputs_for_generation`, as some want it.
    """

    name: str
    maker: Any = None

    def arguments(self, state: Any, ids: Tensor) -> dict[str, Any]:
        if state is None and self.maker is not None:
            places = torch.arange(ids.shape[1], device=ids.device)
            options = {"attention_mask": torch.ones_like(ids), "cache_position": places, "use_cache": True}
            state = self.maker.prepare_inputs_for_generation(ids, **options)[self.name]
        return {"use_cache": True} if state is None else {"use_cache": True, self.name: state}

    def taken(self, out: Any, given: dict[str, Any]) -> Any:
        state = getattr(out, self.name)
        if state is None:
            raise NotImplementedError(f"{self.name} is not given back")
        return state


@dataclass(frozen=True, slots=True)
class Held:
    """A part of the state lies in the module's own parts (RecurrentGemma), the rest is the argument `name`, if any."""

    name: str | None
    config: Any
    places: tuple[tuple[nn.Module, str], ...]

    def arguments(self, state: Any, ids: Tensor) -> dict[str, Any]:
        if state is None:
            state = DynamicCache(config=self.config) if self.name else None, [None] * len(self.places)
        cache, values = state
        for (part, attribute), value in zip(self.places, values, strict=True):
            part.__dict__[attribute] = value
        return {"use_cache": True, **({self.name: cache} if self.name else {})}

    def taken(self, out: Any, given: dict[str, Any]) -> Any:
        values = [part.__dict__[attribute] for part, attribute in self.places]
        for part, attribute in self.places:
            part.__dict__[attribute] = None
        return given.get(self.name or ""), values


@torch.no_grad()
def held_by(module: Any, name: str | None) -> Held | None:
    """The keeper of a module that writes a part of its state into its own parts, None if it does not."""
    places = [(part, attribute) for part in module.modules() for attribute in _empty(part)]
    ids = torch.tensor([[0]], device=module.get_input_embeddings().weight.device)
    with _restored(places):
        module(input_ids=ids, use_cache=True)
        found = tuple(place for place in places if isinstance(place[0].__dict__[place[1]], Tensor))
    return Held(name, module.config, found) if found else None


def _empty(part: nn.Module) -> list[str]:
    """Attributes of a part that may hold a state: they are None, or a tensor that is neither parameter nor buffer."""
    return [name for name, value in part.__dict__.items() if value is None or isinstance(value, Tensor)]


@contextmanager
def _restored(places: list[tuple[nn.Module, str]]) -> Iterator[None]:
    before = [part.__dict__[attribute] for part, attribute in places]
    for part, attribute in places:
        if isinstance(part.__dict__[attribute], Tensor):
            part.__dict__[attribute] = None
    try:
        yield
    finally:
        for (part, attribute), value in zip(places, before, strict=True):
            part.__dict__[attribute] = value
