"""Whether a method can be given these models, this base and these statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from consort.core.errors import BadParameter, ConsortError, Incompatible
from consort.core.kinds import check_referred
from consort.merge.method import Method
from consort.weights.checkpoint import Checkpoint
from consort.weights.stats import check_statistics
from consort.weights.vocabulary.align import align_vocabularies

MOST_MODELS = 1_000
"""That are merged at once: their entries lie side by side in memory."""


@contextmanager
def collecting(faults: list[ConsortError]) -> Iterator[None]:
    """A fault inside the block is kept, and what follows the block is looked at too."""
    try:
        yield
    except ConsortError as fault:
        faults.append(fault)


def check_inputs(method: Method, models: Sequence[Checkpoint], base: Checkpoint | None) -> None:
    """Raises BadParameter for a number of models, or a base, that the method is not for."""
    if base is not None:
        check_referred("checkpoint", base, "base")
    least, most = method.inputs
    if len(models) > MOST_MODELS:
        hint = "merge them in groups, and the results of the groups"
        raise BadParameter(f"{len(models):,} models are more than {MOST_MODELS:,}", field="models", hint=hint)
    if len(models) < least or (most is not None and len(models) > most):
        wanted = f"{least} or more models" if most is None else f"{least} model{'s' if least > 1 else ''}"
        raise BadParameter(f"{method.name} merges {wanted}, not {len(models)}", field="models")
    if method.base == "required" and base is None:
        hint = "base: the model that the others were made from"
        raise BadParameter(f"{method.name} needs a base", field="base", hint=hint)


def check_models_statistics(
    method: Method, models: Sequence[Checkpoint], statistics: Sequence[Checkpoint] | None
) -> None:
    """Raises BadParameter for statistics that are missing, of another kind or of other models."""
    given = len(statistics or ())
    if not method.statistics and given:
        raise BadParameter(f"{method.name} uses no statistics", field="statistics", hint="leave them out")
    if not method.statistics:
        return
    if given != len(models):
        hint = f"`consort collect {method.statistics}` makes them, in the order of the models"
        message = f"{method.name} needs statistics of each of the {len(models)} models, not {given}"
        raise BadParameter(message, field="statistics", hint=hint)
    for model, found in zip(models, statistics or (), strict=True):
        check_statistics(found, method.statistics, model)


def check_vocabularies_of_statistics(
    models: Sequence[Checkpoint],
    base: Checkpoint | None,
    tokenizer: Any,
    statistics: Sequence[Checkpoint] | None,
) -> None:
    """Refuses statistics where `tokenizer` changes the models: they are of the models as they were."""
    if not statistics or tokenizer is None:
        return
    try:
        align_vocabularies(models, base)
    except Incompatible:
        message = "were collected before `tokenizer` changes the vocabularies"
        hint = "write each model with the common vocabulary first, and collect the statistics of those"
        raise Incompatible(message, field="statistics", hint=hint) from None
