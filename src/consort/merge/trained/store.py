"""What training a merge found, kept as a folder like that of statistics: config.json says whose it is, and the numbers.

Tensors, where there are any, lie beside it in model.safetensors, so the folder is read like any checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from consort.core.errors import BadCheckpoint, Incompatible
from consort.core.files import write_json
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.folder_check import CONFIG, SINGLE
from consort.weights.disk.paths import inside, read_json
from consort.weights.stats import MODEL_TYPE, fingerprint, write_shard

KEY = "trained"
"""Where config.json has what was found."""


def write_found(
    folder: Path,
    kind: str,
    models: Sequence[Checkpoint],
    base: Checkpoint | None,
    found: Mapping[str, Any],
    tensors: Mapping[str, Tensor] | None = None,
) -> None:
    """Writes what was found for these models, in this order; config.json comes last, each file whole or absent."""
    if tensors:
        write_shard(folder / SINGLE, tensors)
    whose = {"models": [model.name for model in models], "fingerprints": stamps(models, base)}
    write_json(folder / CONFIG, {"model_type": MODEL_TYPE, KEY: {"kind": kind, **whose, **found}})


def read_found(
    folder: str | Path,
    kind: str,
    models: Sequence[Checkpoint] | None = None,
    base: Checkpoint | None = None,
    *,
    needs: Sequence[str] = (),
) -> dict[str, Any]:
    """What was written, if it is of this kind, has all it `needs` and, where `models` are given, was found for these.

    Raises BadCheckpoint, Incompatible.
    """
    path = Path(folder)
    hint = f"give a folder that `consort collect {kind}` wrote"
    config = read_json(inside(path, CONFIG, source=CONFIG)) if (path / CONFIG).is_file() else {}
    found: Any = config.get(KEY)
    if not isinstance(found, dict) or found.get("kind") != kind:
        raise BadCheckpoint(f"holds nothing that {kind} found", field=str(folder), hint=hint)
    missing = [key for key in needs if key not in found]
    if missing:
        raise BadCheckpoint(f"lacks {', '.join(missing)}", field=f"{folder}/{CONFIG}", hint=hint)
    if models is not None and found.get("fingerprints") != stamps(models, base):
        names = ", ".join(map(str, found.get("models", ())))
        hint = "give the same models in the same order, and the same base; other ones need a new run"
        raise Incompatible(f"was found for other models ({names})", field=str(folder), hint=hint)
    return dict(found)


def stamps(models: Sequence[Checkpoint], base: Checkpoint | None) -> list[str]:
    """What tells the models, in their order, and then the base."""
    return [fingerprint(model) for model in (*models, *(() if base is None else (base,)))]
