"""consort: many language models made to work as one.

Merge checkpoints, ensemble models, let them cooperate; every combination is a checkpoint or a model again. Names are
resolved when first used, so `import consort` imports neither torch nor transformers. Every registered strategy is here
under its class name's plan form, e.g. `consort.average([...])`.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from consort.core.version import __version__ as __version__

if TYPE_CHECKING:
    from consort.core.errors import ConsortError
    from consort.core.types import Completion, Sampling
    from consort.data import load_task
    from consort.evaluate import compare, evaluate
    from consort.merge import merge
    from consort.models.placement import held
    from consort.plan import load, model, to_plan
    from consort.recipes.auto.run import auto
    from consort.runs.save import save
    from consort.server.run import serve

_HOMES = {
    "Completion": "consort.core.types",
    "ConsortError": "consort.core.errors",
    "Sampling": "consort.core.types",
    "auto": "consort.recipes.auto.run",
    "compare": "consort.evaluate",
    "evaluate": "consort.evaluate",
    "held": "consort.models.placement",
    "load": "consort.plan",
    "load_task": "consort.data",
    "merge": "consort.merge",
    "model": "consort.plan",
    "save": "consort.runs.save",
    "serve": "consort.server.run",
    "to_plan": "consort.plan",
}

__all__ = [
    "Completion",
    "ConsortError",
    "Sampling",
    "auto",
    "compare",
    "evaluate",
    "held",
    "load",
    "load_task",
    "merge",
    "model",
    "save",
    "serve",
    "to_plan",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is None:
        from consort.core.catalogue import callable_names

        registry = callable_names().get(name)
        if registry is not None and registry.kind == "merge":
            raise AttributeError(f"{name} is a merge method: consort.merge({name!r}, [models], base=…)", name=name)
        if registry is not None:
            return registry.get(name)
        from consort.core.errors import did_you_mean

        near = did_you_mean(name, __dir__())
        hint = f"; {near}" if near.startswith("did") else "; `consort methods` lists what there is"
        raise AttributeError(f"module 'consort' has no attribute {name!r}{hint}", name=name)
    if not name.startswith("_"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'consort' has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    from consort.core.catalogue import callable_names

    return sorted({*__all__, "__version__", *callable_names()})
