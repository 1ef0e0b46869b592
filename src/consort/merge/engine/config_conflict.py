"""`config_conflict`: for keys on which the inputs' configurations differ, whose value the output gets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from consort.core.errors import BadParameter, did_you_mean
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import Difference
from consort.weights.vocabulary.policy import input_named

FIELD = "config_conflict"
ROPE = ("rope_theta", "rope_scaling", "rope_parameters")
"""The keys that a configuration may write as `rope.…`: they are settled together, by one input."""


def read_conflicts(
    value: Any, differences: Sequence[Difference], inputs: Sequence[Checkpoint], donor: int
) -> dict[str, int]:
    """The number of the input that settles each key. Raises BadParameter for keys on which all agree."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadParameter(f"{value!r} is no mapping", field=FIELD, hint="{rope.rope_theta: NAME}")
    known = [difference.key for difference in differences]
    for key in value:
        if key not in known:
            hint = did_you_mean(str(key), known) if known else "leave it out"
            raise BadParameter(f"the inputs do not differ in {key!r}", field=f"{FIELD}.{key}", hint=hint)
    found = {key: input_named(named, inputs, donor, f"{FIELD}.{key}") for key, named in value.items()}
    of_rope: dict[str, int] = {}
    for key, number in found.items():
        level = _levels(key)[0]
        if _is_rope(key) and of_rope.setdefault(level, number) != number:
            message = "the keys of rope are settled by different inputs"
            raise BadParameter(message, field=f"{FIELD}.{key}", hint="name one input for all of them")
    return found


def settled(config: Mapping[str, Any], chosen: Mapping[str, int], inputs: Sequence[Checkpoint]) -> dict[str, Any]:
    """`config` with each chosen key as the input that settles it has it, absent where it is absent there."""
    result: dict[str, Any] = json.loads(json.dumps(config))
    for key, number in chosen.items():
        level, last = _levels(key)
        into, source = _inside(result, level), _inside(inputs[number].config, level)
        for name in ROPE if _is_rope(key) else (last,):
            into.pop(name, None)
            into |= {name: source[name]} if name in source else {}
    return result


def _levels(key: str) -> tuple[str, str]:
    """The mapping that a key lies in, and its name there."""
    if _is_rope(key):
        return ".".join(key.split(".")[: key.split(".").index("rope")]), "rope"
    level, _, last = key.rpartition(".")
    return level, last


def _is_rope(key: str) -> bool:
    return "rope" in key.split(".")[:-1]


def _inside(config: Any, level: str) -> Any:
    for part in level.split(".") if level else ():
        config = config.setdefault(part, {}) if isinstance(config, dict) else config.get(part, {})
    return config
