"""mergekit's MoE YAML (version 0.1.5), translated into a consort plan: a `sparse_mixture`.

    base_model, experts[{source_model, positive_prompts, negative_prompts, noise_scale, residual_scale}], gate_mode,
    experts_per_token, shared_experts[{source_model, positive_prompts, residual_scale}], dtype, architecture

mergekit's defaults are written out where consort's differ. All faults of a file are found at once; unknown keys, which
mergekit ignores, are among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consort.core.dtypes import FLOATS
from consort.core.errors import BadPlan, ConsortError, Unsupported, did_you_mean, together
from consort.plan.mergekit.models import read_model, reference

KEYS = ("base_model", "experts", "gate_mode", "experts_per_token", "shared_experts", "dtype", "architecture")
EXPERT = ("source_model", "positive_prompts", "negative_prompts", "noise_scale", "residual_scale")
GATE_MODES = ("hidden", "cheap_embed", "random", "uniform_random")
ARCHITECTURES = {"auto": None, "mixtral": "mixtral", "qwen": "qwen2_moe", "qwen2_moe": "qwen2_moe"}
ARCHITECTURES |= {"qwen3": "qwen3_moe", "qwen3_moe": "qwen3_moe"}
PER_TOKEN, SHARED_SCALE = 2, 0.1


def is_mixture(document: Any) -> bool:
    """Whether a YAML value is mergekit's description of a mixture of experts."""
    return isinstance(document, Mapping) and "experts" in document and "plan" not in document


def translate_mixture(document: Mapping[str, Any]) -> Any:
    """The consort expression of a mergekit MoE file. Raises one error that names all its faults."""
    faults: list[ConsortError] = []
    _check_keys(document, KEYS, "", faults)
    base = _model(document.get("base_model"), "base_model", faults)
    experts = _experts(document.get("experts"), "experts", faults)
    shared = _experts(document.get("shared_experts") or [], "shared_experts", faults)
    gate = _choice(document.get("gate_mode", "hidden"), "gate_mode", GATE_MODES, faults)
    arguments: dict[str, Any] = {"base": base, "models": [e["model"] for e in experts]}
    kind = _choice(document.get("architecture", "auto"), "architecture", tuple(ARCHITECTURES), faults)
    if ARCHITECTURES.get(kind):
        arguments["architecture"] = ARCHITECTURES[kind]
    if document.get("dtype") is not None:
        arguments["dtype"] = _choice(document["dtype"], "dtype", FLOATS, faults)
    arguments["gate"] = gate
    arguments["experts_per_token"] = document.get("experts_per_token", min(PER_TOKEN, len(experts)) or 1)
    if gate in ("hidden", "cheap_embed"):
        arguments["positive"] = [e["positive"] for e in experts]
        if any(e["negative"] for e in experts):
            arguments["negative"] = [e["negative"] for e in experts]
    for key in ("noise_scale", "residual_scale"):
        if any(e[key] is not None for e in experts):
            default = 0.0 if key == "noise_scale" else 1.0
            arguments[key] = [default if e[key] is None else e[key] for e in experts]
    arguments |= _shared(shared, gate, faults)
    if faults:
        raise together(faults)
    return {"sparse_mixture": arguments}


def _shared(shared: Sequence[Mapping[str, Any]], gate: str, faults: list[ConsortError]) -> dict[str, Any]:
    if not shared:
        return {}
    if len(shared) > 1:
        what = f"{len(shared)} shared experts; the sparse architectures known here have one"
        faults.append(Unsupported(what, field="shared_experts", hint="give one, or merge them first"))
    one = shared[0]
    if one["negative"] or one["noise_scale"]:
        what = "negative_prompts or noise_scale of a shared expert"
        faults.append(Unsupported(f"{what} have no counterpart", field="shared_experts[0]", hint="leave them out"))
    scale = SHARED_SCALE if one["residual_scale"] is None else one["residual_scale"]
    found = {"shared": one["model"], "shared_scale": scale}
    return found | ({"shared_positive": one["positive"]} if one["positive"] and gate == "hidden" else {})


def _experts(value: Any, where: str, faults: list[ConsortError]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or (not value and where == "experts"):
        faults.append(
            BadPlan(f"{value!r:.60} is no list of experts", field=where, hint="mergekit-moe wants - source_model: PATH")
        )
        return []
    return [found for i, item in enumerate(value) if (found := _expert(item, f"{where}[{i}]", faults))]


def _expert(value: Any, where: str, faults: list[ConsortError]) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        faults.append(
            BadPlan(f"{value!r:.60} is no expert", field=where, hint="source_model: PATH, positive_prompts: []")
        )
        return None
    _check_keys(value, EXPERT, f"{where}.", faults)
    found: dict[str, Any] = {"model": _model(value.get("source_model"), f"{where}.source_model", faults)}
    for key in ("positive", "negative"):
        texts = value.get(f"{key}_prompts") or []
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            what = f"{texts!r:.60} is no list of texts"
            faults.append(BadPlan(what, field=f"{where}.{key}_prompts", hint="- text"))
            texts = []
        found[key] = texts
    for key in ("noise_scale", "residual_scale"):
        number = value.get(key)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float) or number < 0):
            faults.append(BadPlan(f"{number!r} is no scale", field=f"{where}.{key}", hint="a number, 0 or more"))
            number = None
        found[key] = number
    return found


def _model(value: Any, where: str, faults: list[ConsortError]) -> Any:
    try:
        return reference(read_model(value, where))
    except ConsortError as fault:
        faults.append(fault)
        return ""


def _choice(value: Any, where: str, known: Sequence[str], faults: list[ConsortError]) -> str:
    if value not in known:
        faults.append(BadPlan(f"{value!r} is unknown", field=where, hint=did_you_mean(str(value), known)))
        return known[0]
    return str(value)


def _check_keys(value: Mapping[str, Any], known: Sequence[str], where: str, faults: list[ConsortError]) -> None:
    for key in value:
        if key not in known:
            what = f"unknown key {key!r}"
            faults.append(BadPlan(what, field=f"{where}{key}", hint=did_you_mean(str(key), known)))
