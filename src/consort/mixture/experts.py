"""What every mixture of weights checks and works out of its arguments: experts that fit, layers, routers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from consort.core.errors import BadParameter, Incompatible, Unsupported, listing
from consort.mixture.gates import (
    Gate,
    Prompts,
    check_prompts,
    embedding_gates,
    hidden_gates,
    random_gates,
    read_gates,
)
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import differences, text_config

if TYPE_CHECKING:
    from consort.models.token_model import TokenModel

DENSE = ("llama", "mistral", "qwen2", "qwen3")
"""Values of `model_type` whose layers can be experts."""
IN_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")


def depth_of(base: Checkpoint, models: Sequence[Checkpoint]) -> int:
    """The number of layers. Raises Unsupported, BadParameter, Incompatible for experts that cannot be mixed."""
    kind = base.config.get("model_type")
    if kind not in DENSE:
        raise Unsupported(f"{kind} cannot be mixed", field=base.name, hint=f"take models of {', '.join(DENSE)}")
    if not models:
        raise BadParameter("no experts", field="models", hint="give two or more")
    for model in models:
        faults = [f"config {d}" for d in differences([base.config, model.config])]
        faults += [] if faults else _other_tensors(base, model)
        if faults:
            hint = "experts have the architecture and shapes of the base; mix others with prompt_mixture"
            raise Incompatible(listing(faults, 3), field=f"{model.name} and {base.name}", hint=hint)
    return int(text_config(base.config)["num_hidden_layers"])


def _other_tensors(base: Checkpoint, model: Checkpoint) -> list[str]:
    shapes = [{n: m.spec(n).shape for n in m.keys() if IN_LAYER.fullmatch(n)} for m in (base, model)]
    names = dict.fromkeys([*shapes[0], *shapes[1]])
    return [
        f"{n}: {shapes[0].get(n)} against {shapes[1].get(n)}" for n in names if shapes[0].get(n) != shapes[1].get(n)
    ]


def check_gate(gate: str, state: str, positive: Sequence[Prompts], negative: Sequence[Prompts], experts: int) -> None:
    """Raise BadParameter for a router that cannot be made."""
    needed = not state and gate in ("hidden", "cheap_embed") and experts > 1
    check_prompts(positive, negative, experts, required=needed)


def gates_for(
    base: Checkpoint,
    reference: TokenModel | None,
    layers: Sequence[int],
    experts: int,
    *,
    gate: str,
    state: str,
    positive: Sequence[Prompts],
    negative: Sequence[Prompts],
    seed: int,
) -> Mapping[int, Gate]:
    """The routers of `layers` as the arguments of a mixture describe them; a single expert needs none.

    `reference` is the base at work, which routers made of prompts need.
    """
    hidden = int(text_config(base.config)["hidden_size"])
    if state:
        return read_gates(state, layers=layers, experts=experts, hidden=hidden)
    if gate.endswith("random") or experts == 1:
        return random_gates(experts, hidden, layers, seed, uniform=gate.startswith("uniform"))
    assert reference is not None
    if gate == "cheap_embed":
        encode = reference.tokenizer.encode
        lists = []
        for number, texts in enumerate(positive):
            no = negative[number] if number < len(negative) else ()
            lists.append(tuple([t for text in part for t in encode(text, special=False)] for part in (texts, no)))
        return embedding_gates(base, lists, layers)  # type: ignore[arg-type]
    return hidden_gates(reference, positive, negative, layers)
