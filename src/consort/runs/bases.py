"""Bases of what was handed in: of adapters whose own word is not found here, and of a family where nobody says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from consort.core.errors import BadCheckpoint, ConsortError
from consort.plan.adapter_base import base_among, base_by_word
from consort.plan.references import JOINED, base_and_adapter, folder_of, has_weights, label_of

T = TypeVar("T", bound=Any)


def with_base(reference: str, references: Sequence[str], base: str | None = None) -> str:
    """The reference, of an adapter alone as `BASE+ADAPTER`.

    The base lies where the adapter says, or is the one of `references` that it names, or `base`, or the only one of
    them whose weights it fits. Raises BadCheckpoint where there is none or several.
    """
    from consort.weights import is_adapter

    if not has_weights(reference) or base_and_adapter(reference)[0] is not None:
        return reference
    folder = folder_of(reference)
    if not is_adapter(folder) or base_by_word(folder) is not None:
        return reference
    models = [r for r in references if has_weights(r) and not is_adapter(folder_of(r))]
    found = base_among(folder, models, [label_of(r) for r in models]) or (base if base in models else None)
    return f"{found or _only_fitting(reference, models)}{JOINED}{reference}"


def _only_fitting(reference: str, models: Sequence[str]) -> str:
    """The one model whose weights an adapter has factors for."""
    from consort.weights import declared_base

    fitting = [model for model in models if _fits(reference, model)]
    if len(fitting) == 1:
        return fitting[0]
    named = next(iter(declared_base(folder_of(reference))), None)
    what = f"is an adapter of {named!r}, which is not here" if named else "is an adapter that names no base"
    more = f", and fits {', '.join(fitting)}" if fitting else ""
    raise BadCheckpoint(f"{what}{more}", field=reference, hint=f"--base MODEL, or write BASE{JOINED}{reference}")


def _fits(reference: str, model: str) -> bool:
    from consort.weights import open_adapter, open_checkpoint
    from consort.weights.adapters.changes import fit_changes, read_changes

    try:
        adapter = open_adapter(folder_of(reference))
        fit_changes(open_checkpoint(folder_of(model)), adapter, read_changes(adapter))
    except ConsortError:  # whoever opens it says what is wrong with it
        return False
    return True


def likeliest(members: Sequence[T]) -> T | None:
    """The member that the weights of the others say they come from."""
    from consort.zoo.base import likely_base

    found = likely_base([member.checkpoint for member in members])
    return None if found is None else members[found]
