"""What a server asks of an update before it counts: a client that lies or fails is left out by name."""

from __future__ import annotations

import math
from collections.abc import Mapping

from consort.core.errors import BadData, listing
from consort.federate.low_rank import A, B
from consort.federate.state import State, Update, difference_norm, trained_names

MAX_NORM = 1e6
"""How far a client may move by default; no honest training goes so far."""
MAX_SAMPLES = 2**31
MAX_RANK = 1024


def check_update(update: Update, base: State, *, mixed_ranks: bool = False, max_norm: float = MAX_NORM) -> None:
    """Raise BadData, naming the client, for an update that cannot be counted.

    `mixed_ranks`: LoRA factors may be of another rank than the base's. `max_norm` bounds the distance from the base,
    where that is defined.
    """
    names = trained_names(base)
    missing, strange = sorted(set(names) - set(update.state)), sorted(set(update.state) - set(names))
    if missing or strange:
        what = [f"lacks {n}" for n in missing] + [f"has {n[:80]!r} too" for n in strange]
        raise _refused(update, listing(what, 3))
    _check_numbers(update)
    for name in names:
        tensor, wanted = update.state[name], base[name].shape
        other_rank = mixed_ranks and _is_of_other_rank(name, update.state, base)
        if tensor.shape != wanted and not other_rank:
            raise _refused(update, f"{name} has the shape {list(tensor.shape)}, not {list(wanted)}")
        if tensor.dtype != base[name].dtype:
            raise _refused(update, f"{name} is of type {tensor.dtype}, not {base[name].dtype}")
        if not bool(tensor.isfinite().all()):
            raise _refused(update, f"{name} holds numbers that are not finite")
    for name, tensor in update.aux.items():
        if name not in base or tensor.shape != base[name].shape or not bool(tensor.isfinite().all()):
            raise _refused(update, f"what it sends beside {name[:80]!r} does not fit")
    same = [name for name in names if update.state[name].shape == base[name].shape]
    moved = difference_norm(update.state, base, same)
    if moved > max_norm:
        raise _refused(update, f"moved by {moved:.3g}, more than {max_norm:.3g}")


def _check_numbers(update: Update) -> None:
    if not 1 <= update.samples <= MAX_SAMPLES:
        raise _refused(update, f"tells of {update.samples} samples")
    if update.steps < 1 or not (math.isfinite(update.lr) and update.lr > 0):
        raise _refused(update, f"tells of {update.steps} steps at a rate of {update.lr}")
    if not _are_finite(update.metrics):
        raise _refused(update, "its metrics are not finite")


def _are_finite(metrics: Mapping[str, float]) -> bool:
    return all(math.isfinite(value) for value in metrics.values())


def _is_of_other_rank(name: str, state: State, base: State) -> bool:
    """Whether a factor differs from the base's in rank alone, and its partner has the same rank."""
    module = name.removesuffix(A).removesuffix(B)
    if module == name or module + A not in state or module + B not in state:
        return False
    a, b = state[module + A], state[module + B]
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or not 1 <= a.shape[0] <= MAX_RANK:
        return False
    return a.shape[1] == base[module + A].shape[1] and b.shape[0] == base[module + B].shape[0]


def _refused(update: Update, what: str) -> BadData:
    return BadData(what, field=update.client, hint="it is left out of this round")
