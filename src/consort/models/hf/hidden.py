"""Hidden states of transformers modules by their own code, and what their output head makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from consort.core.errors import Unsupported
from consort.models.abilities import States
from consort.models.hf.host import Host


@dataclass(frozen=True, slots=True)
class Readout:
    """A module's output head, and the norm that comes before it."""

    head: nn.Module
    norm: nn.Module

    def __call__(self, hidden: Float[Tensor, "*shape size"], norm: bool) -> Float[Tensor, "*shape vocab"]:
        logits: Tensor = self.head(self.norm(hidden) if norm else hidden)
        return logits.float()


_KNOWN: WeakKeyDictionary[nn.Module, Readout] = WeakKeyDictionary()


def readout_of(model: Host) -> Readout:
    """The readout of a model, found once. Raises Unsupported, naming the model, where there is none to be found.

    The norm is whatever part gave the last hidden states; that the head makes the model's logits of them is checked.
    """
    if model.module not in _KNOWN:
        found = _find(model.module)
        if found is None:
            hint = "take contrastive_search, which needs only hidden states, or another model"
            raise Unsupported("its logits are more than its head makes of its last layer", field=model.name, hint=hint)
        _KNOWN[model.module] = found
    return _KNOWN[model.module]


@torch.no_grad()
def _find(module: Any) -> Readout | None:
    head, calls = module.get_output_embeddings(), list[tuple[nn.Module, Tensor]]()

    def seen(part: nn.Module, _: Any, out: Any) -> None:
        if isinstance(out, Tensor):
            calls.append((part, out))

    hooks = [part.register_forward_hook(seen) for part in module.modules() if not list(part.children())]
    try:
        ids = torch.arange(2, 5, device=module.device)[None]
        out = module(input_ids=ids, output_hidden_states=True, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    first, final = out.hidden_states[0], out.hidden_states[-1]
    norms = [part for part, value in calls if value.shape == final.shape and torch.equal(value, final)]
    if head is None or not norms or first.shape != final.shape:
        return None
    found = Readout(head, norms[-1])
    return found if torch.allclose(found(final, False), out.logits.float(), rtol=1e-3, atol=1e-3) else None


def no_states(model: Host, layers: int) -> States:
    """What an empty feed gives."""
    size = model.module.get_input_embeddings().weight.shape[1]
    return States(model.no_logits(), torch.empty(layers, 0, size, device=model.device))


def states_of(
    logits: Float[Tensor, "new vocab"], hidden: Sequence[Float[Tensor, "read size"]], layers: Sequence[int]
) -> States:
    """The hidden states of those tokens that there are logits of: the last ones read, in the chosen layers."""
    return States(logits, torch.stack([hidden[layer][len(hidden[layer]) - len(logits) :] for layer in layers]))
