"""A configuration with all its defaults, and the model it describes without memory for its weights.

Only where names and a configuration alone do not tell enough (stacks of unlike layers, names of other layouts), since
transformers takes a second to import. What it does not know (a configuration of someone's own code) is None.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from consort.core.errors import Unsupported


def expanded(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """`config` as transformers reads it, with what follows from it or is left to defaults written out.

    Raises Unsupported with the reason why transformers refuses it.
    """
    return _expanded(json.dumps(config, sort_keys=True))


def skeleton(config: Mapping[str, Any]) -> nn.Module | None:
    """The model of `config` on the meta device; do not change it. None where transformers has no such model.

    Raises Unsupported with the reason why transformers cannot build it.
    """
    return _skeleton(json.dumps(config, sort_keys=True))


@lru_cache(64)
def _expanded(text: str) -> Mapping[str, Any] | None:
    with _quiet():
        found = _config(json.loads(text))
        return None if found is None else dict(found.to_dict())


@lru_cache(8)
def _skeleton(text: str) -> nn.Module | None:
    import transformers

    with _quiet():
        config = _config(json.loads(text))
        if config is None:
            return None
        kind = getattr(transformers, next(iter(config.architectures or ()), ""), None)
        try:
            with torch.device("meta"):
                made: nn.Module = kind(config) if kind else transformers.AutoModelForCausalLM.from_config(config)
                return made
        except Exception as error:  # of an architecture's own code, which may raise anything
            raise _refused(config.model_type, error) from error


def _config(config: Mapping[str, Any]) -> Any:
    """The configuration object; None for an unknown model_type."""
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING or config.get("auto_map"):
        return None
    try:
        return CONFIG_MAPPING[kind].from_dict(_with_floats(config))
    except Exception as error:  # checks of its own, of any type
        raise _refused(kind, error) from error


def _refused(kind: Any, error: Exception) -> Unsupported:
    reason = " ".join(str(error).split())
    return Unsupported(
        f"transformers has no such {kind}: {reason:.300}", field="config", hint="look at its config.json"
    )


def _with_floats(value: Any) -> Any:
    """Infinity and NaN as transformers writes them, as numbers."""
    if isinstance(value, Mapping):
        if set(value) == {"__float__"}:
            return float(value["__float__"])
        return {key: _with_floats(inner) for key, inner in value.items()}
    return [_with_floats(inner) for inner in value] if isinstance(value, list) else value


@contextmanager
def _quiet() -> Iterator[None]:
    """What transformers says of configurations is said again when the model is loaded."""
    from transformers.utils import logging as theirs

    level = theirs.get_verbosity()
    theirs.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_verbosity(level)
