"""adapter_config.json as peft writes it: the one place that reads it, every value checked before a tensor is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from consort.core.errors import BadCheckpoint, ConsortError, Unsupported, listing, together
from consort.weights.adapters.files import ADAPTER_CONFIG
from consort.weights.checkpoint import Checkpoint

STRANGE = (
    *("layer_replication", "lora_bias", "megatron_config", "alora_invocation_tokens", "trainable_token_indices"),
    *("use_qalora", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config", "velora_config"),
)
"""Keys of variants that are more than W + s B A."""
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Ways of initialisation that also change the base, so that A and B do not belong to the base as published."""
INITIALISATIONS = ("gaussian", "eva", "orthogonal", *CHANGES_BASE)
BIASES = ("none", "all", "lora_only")


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """What a LoRA adapter says of itself; `at` is its place, for messages."""

    at: str
    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rslora: bool
    dora: bool
    fan_in_fan_out: bool
    layers: tuple[int, ...]
    parameters: tuple[str, ...]
    base: str | None

    def rank_of(self, module: str) -> int:
        """The rank at a module: what a pattern says of its name, else the common one."""
        return _by_pattern(self.rank_pattern, module, self.rank, self.at)  # type: ignore[no-any-return]

    def scale_of(self, module: str, rank: int) -> float:
        """s in W + s B A, for a module whose factors have `rank`."""
        alpha: float = _by_pattern(self.alpha_pattern, module, self.alpha, self.at)
        return alpha / sqrt(rank) if self.rslora else alpha / rank


def where(adapter: Checkpoint) -> str:
    """The adapter's configuration, for messages."""
    path = getattr(adapter, "path", None)
    return str(path / ADAPTER_CONFIG) if path is not None else adapter.name


def peft_config(adapter: Checkpoint) -> PeftConfig:
    """The checked configuration of an adapter, all its faults in one error.

    Raises BadCheckpoint, and Unsupported for what is no plain LoRA over an unchanged base.
    """
    config, at = adapter.config, where(adapter)
    if config.get("peft_type") != "LORA":
        raise Unsupported(f"peft_type {config.get('peft_type')!r}", field=at, hint="only LORA can be applied")
    used = [key for key in STRANGE if config.get(key)]
    used += [key for key in ("init_lora_weights",) if str(config.get(key)).lower().startswith(CHANGES_BASE)]
    if used:
        hint = "merge it with peft (merge_and_unload) and use the merged model"
        raise Unsupported(f"the adapter uses {listing(used)}", field=at, hint=hint)
    faults = list(_faults(config, at))
    if faults:
        raise together(faults)
    layers = config.get("layers_to_transform")
    return PeftConfig(
        at,
        rank=config["r"],
        alpha=config["lora_alpha"],
        rank_pattern=config.get("rank_pattern") or {},
        alpha_pattern=config.get("alpha_pattern") or {},
        rslora=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
        layers=tuple([layers] if isinstance(layers, int) else layers or ()),
        parameters=tuple(config.get("target_parameters") or ()),
        base=config.get("base_model_name_or_path") or None,
    )


def _faults(config: Mapping[str, Any], at: str) -> list[ConsortError]:
    """What of a configuration has an impossible value."""
    return [
        BadCheckpoint(f"{config.get(key)!r:.80} is not {what}", field=f"{at}: {key}", hint=f"it should be {what}")
        for key, (holds, what) in EXPECTED.items()
        if not holds(config.get(key))
    ]


def _is_flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value)


def _are_texts(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple | set) and all(isinstance(one, str) for one in value))


def _is_pattern(value: Any) -> bool:
    """A regular expression that is one."""
    if not isinstance(value, str):
        return False
    try:
        re.compile(value)
    except re.error:
        return False
    return True


def _are_targets(value: Any) -> bool:
    return _is_pattern(value) if isinstance(value, str) else _are_texts(value)


def _is_initialisation(value: Any) -> bool:
    return _is_flag(value) or (isinstance(value, str) and value.lower().startswith(INITIALISATIONS))


def _are_modules(value: Any) -> bool:
    return _are_texts(value) and all(re.fullmatch(r"\w[\w-]*(\.[\w-]+)*", name) for name in value or ())


def _are_layers(value: Any) -> bool:
    listed = value if isinstance(value, list) else [] if value is None else [value]
    return all(type(one) is int and one >= 0 for one in listed)


def _by_name(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is nothing, or a mapping from patterns to values of a kind."""
    return lambda value: (
        value is None or (isinstance(value, Mapping) and all(isinstance(k, str) and holds(v) for k, v in value.items()))
    )


EXPECTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "r": (_is_count, "a rank, 1 or more"),
    "lora_alpha": (_is_number, "a finite number"),
    "rank_pattern": (_by_name(_is_count), "a mapping from names to ranks"),
    "alpha_pattern": (_by_name(_is_number), "a mapping from names to numbers"),
    "use_rslora": (_is_flag, "true or false"),
    "use_dora": (_is_flag, "true or false"),
    "fan_in_fan_out": (_is_flag, "true or false"),
    "bias": (lambda value: value is None or value in BIASES, " or ".join(BIASES)),
    "target_modules": (_are_targets, "a pattern or a list of names"),
    "layers_pattern": (lambda value: isinstance(value, str) or _are_texts(value), "a name or a list of names"),
    "lora_dropout": (lambda value: value is None or (_is_number(value) and 0 <= value <= 1), "a number in [0, 1]"),
    "init_lora_weights": (_is_initialisation, f"true, false or one of {', '.join(INITIALISATIONS)}"),
    "task_type": (lambda value: value is None or isinstance(value, str), "a text"),
    "target_parameters": (_are_texts, "a list of names"),
    "exclude_modules": (_are_targets, "a pattern or a list of names"),
    "modules_to_save": (_are_modules, "a list of names of modules"),
    "layers_to_transform": (_are_layers, "a list of numbers of layers"),
    "base_model_name_or_path": (lambda value: value is None or isinstance(value, str), "a name or a path"),
}
"""For each key that is read what its value may be."""


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any, at: str) -> Any:
    """The value of the first pattern that matches the end of `module`, as peft reads them; else `default`."""
    for pattern, value in patterns.items():
        if module == pattern or module.endswith(f".{pattern}"):
            return value
        if re.fullmatch(r"[\w.]*", pattern):
            continue
        # A repeated group can take for ever to match, and the pattern comes from a stranger.
        if re.search(r"\)[*+{]", pattern) or len(pattern) > 1000:
            raise Unsupported(f"the pattern {pattern!r:.80}", field=at, hint="use module names")
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        except re.error as error:
            message = f"the pattern {pattern!r:.80} is invalid: {error}"
            raise BadCheckpoint(message, field=at, hint="mend the pattern") from None
    return default
