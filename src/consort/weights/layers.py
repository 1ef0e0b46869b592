"""Where the layers of a checkpoint are: which tensors come before them, in which of them, and after them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from consort.core.errors import Unsupported
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.config_check import LAYERS
from consort.weights.family import layer_of, role_of, text_config


def after_layers(name: str) -> bool:
    """Whether a tensor outside the layers comes after them: the final norm, the head.

    >>> after_layers("model.norm.weight"), after_layers("model.embed_tokens.weight")
    (True, False)
    """
    if layer_of(name) is not None:
        return False
    in_head = re.search(r"(^|\.)(\w*head\w*|score|classifier|embed_out)(\.|$)", name) is not None
    return in_head or role_of(name) == "head" or (role_of(name) == "norm" and "embed" not in name)


def split(name: str) -> tuple[str, int, str] | None:
    """What stands before and after a layer's number in a name; None outside the layers.

    >>> split("model.layers.12.mlp.experts.3.w1.weight")
    ('model.layers.', 12, '.mlp.experts.3.w1.weight')
    """
    layer = layer_of(name)
    if layer is None:
        return None
    found = re.match(r"(.*?\.)(\d+)((?:\..*)?)$", name)
    return (found[1], layer, found[3]) if found else None


class Layers:
    """The layers of a checkpoint: names before (`outside`, not after them), in, and after them."""

    def __init__(self, model: Checkpoint) -> None:
        names = {name: split(name) for name in model.keys()}
        self.prefix = _prefix(model, [found for found in names.values() if found])
        self.model = model
        self.inside: dict[int, dict[str, str]] = {}
        self.outside: list[str] = []
        for name, found in names.items():
            if found and found[0] == self.prefix:
                self.inside.setdefault(found[1], {})[found[2]] = name
            else:
                self.outside.append(name)
        self.low, self.count = min(self.inside), len(self.inside)


def _prefix(model: Checkpoint, found: Sequence[tuple[str, int, str]]) -> str:
    """What stands before the numbers of the language model's layers."""
    stacks: dict[str, list[int]] = {}
    for prefix, layer, _ in found:
        stacks.setdefault(prefix, []).append(layer)
    if len(stacks) > 1:
        text = text_config(model.config)
        depth = next((text[key] for key in LAYERS if key in text), None)
        stacks = {p: s for p, s in stacks.items() if len(set(s)) == depth and not re.search(r"vision|visual|audio", p)}
    if len(stacks) > 1 and not model.config.get("is_encoder_decoder"):
        # beside the layers there may be as many of something small, a list of projections
        most = max(map(len, stacks.values()))
        stacks = {prefix: s for prefix, s in stacks.items() if 2 * len(s) > most}
    if len(stacks) != 1 or model.config.get("is_encoder_decoder"):
        hint = "stack models whose layers are numbered once, under one name"
        raise Unsupported(f"{model.name} has {len(stacks) or 'no'} stacks of layers", field="slices", hint=hint)
    return next(iter(stacks))
