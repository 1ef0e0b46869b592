"""Architecture families of a zoo: models whose weights can be compared entry by entry."""

from __future__ import annotations

from collections.abc import Sequence

from consort.weights.checkpoint import Checkpoint
from consort.weights.family import differences, text_config


def architecture_families(models: Sequence[Checkpoint]) -> list[list[int]]:
    """Positions of the models in groups of one architecture, in order of first appearance; never an error.

    Models are of one family if they have the same tensors with the same shapes, the same model type, and
    configurations that compute the same from the same weights.
    """
    groups: list[list[int]] = []
    for number, model in enumerate(models):
        home = next((group for group in groups if _alike(models[group[0]], model)), None)
        if home is None:
            groups.append([number])
        else:
            home.append(number)
    return groups


def _alike(a: Checkpoint, b: Checkpoint) -> bool:
    types = {str(text_config(model.config).get("model_type")) for model in (a, b)}
    if len(types) > 1 or shapes_of(a) != shapes_of(b):
        return False
    return not differences([a.config, b.config])


def shapes_of(model: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {name: model.spec(name).shape for name in sorted(model.keys())}
