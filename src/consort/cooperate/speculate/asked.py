"""What transformers' `generate` was asked beside a prompt: what speculation does as generate would, and what not.

generate hands a custom method its processors, criteria and settings, but not its streamer, assistant or negative
prompt: those are read where generate holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from types import FrameType
from typing import Any

from torch import Tensor

from consort.core.errors import Unsupported

CALLERS = 4
"""How far up the calls `generate` is looked for: a user's own wrapper may stand between."""

FOLLOWED = frozenset(("attention_mask", "position_ids", "use_cache", "cache", "past_key_values"))
HARMLESS = frozenset(("cache_position", "logits_to_keep", "return_dict"))
STATEFUL = {
    "UnbatchedClassifierFreeGuidanceLogitsProcessor": "guidance_scale",
    "SynthIDTextWatermarkLogitsProcessor": "watermarking_config",
}
"""Processors that count on being called once a token, in order; a draft is judged at several places at once."""

ONLY_IN_DICTS = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")


@dataclass(frozen=True, slots=True)
class Asked:
    """Arguments of `generate` that it does not hand on."""

    streamer: Any = None
    assistant_model: Any = None
    negative_prompt_ids: Any = None
    synced_gpus: Any = None

    @classmethod
    def of(cls, frame: FrameType | None) -> Asked:
        """Those of the call to generate that `frame` belongs to."""
        for _ in range(CALLERS):
            if frame is None:
                break
            if frame.f_code.co_name == "generate" and "streamer" in frame.f_locals:
                return cls(**{f.name: frame.f_locals.get(f.name) for f in fields(cls)})
            frame = frame.f_back
        return cls()


def check_call(model: Any, ids: Tensor, processors: Any, config: Any, kwargs: Mapping[str, Any], asked: Asked) -> None:
    """Raises Unsupported for the first thing asked of generate that would be done otherwise, or not at all."""
    if model.config.is_encoder_decoder:
        raise Unsupported("encoder-decoder models cannot be speculated", field="model", hint="take a causal model")
    if config.num_beams > 1:
        raise Unsupported("beams cannot be speculated", field="num_beams", hint="num_beams=1")
    if asked.streamer is not None and len(ids) > 1:
        raise Unsupported("a streamer hears one answer, not a batch", field="streamer", hint="give one prompt")
    for name in _undone(ids, processors, config, kwargs, asked):
        hint = f"call generate without {name}, or without custom_generate"
        raise Unsupported("is not done by speculation", field=name, hint=hint)


def _undone(ids: Tensor, processors: Any, config: Any, kwargs: Mapping[str, Any], asked: Asked) -> Iterator[str]:
    if kwargs.get("inputs_embeds") is not None:
        yield "inputs_embeds"
    if getattr(config, "guidance_scale", None) not in (None, 1):
        yield "guidance_scale"
    yield from (STATEFUL[type(p).__name__] for p in processors or () if type(p).__name__ in STATEFUL)
    if asked.assistant_model is not None:
        yield "assistant_model"
    if asked.negative_prompt_ids is not None:
        yield "negative_prompt_ids"
    if asked.synced_gpus:
        yield "synced_gpus"
    if getattr(config, "penalty_alpha", None):
        yield "penalty_alpha"
    yield from (n for n in ("dola_layers", "force_words_ids", "constraints") if getattr(config, n, None) is not None)
    if config.return_dict_in_generate:
        yield from (name for name in ONLY_IN_DICTS if getattr(config, name, None))
    yield from _other_inputs(ids, kwargs)


def _other_inputs(ids: Tensor, kwargs: Mapping[str, Any]) -> Iterator[str]:
    """Inputs of the model that plain ids do not stand for."""
    for name in ("cache", "past_key_values"):
        length = getattr(kwargs.get(name), "get_seq_length", int)()
        if int(length):
            yield name
    positions, mask = kwargs.get("position_ids"), kwargs.get("attention_mask")
    if positions is not None and not _is_plain(positions, ids, mask):
        yield "position_ids"
    for name, value in kwargs.items():
        if name not in FOLLOWED | HARMLESS and value is not None and value is not False:
            yield name


def _is_plain(positions: Tensor, ids: Tensor, mask: Tensor | None) -> bool:
    """Whether positions count the real tokens of each row, from 0."""
    if positions.shape != ids.shape:
        return False
    counted = (ids.new_ones(ids.shape) if mask is None else mask.long()).cumsum(-1) - 1
    real = slice(None) if mask is None else mask.bool()
    return bool((positions == counted)[real].all())
