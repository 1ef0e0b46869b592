"""How a matrix is multiplied by a few tokens: the forms, and which of them is fastest on this processor.

A processor may be faster at W x^T than at x W^T for a few tokens, or at two tokens than at one; which, differs between
processors and libraries by factors. So each shape is measured once for each number of tokens, a few milliseconds in
all, when a model of that shape is first opened. What was found is kept on disk by processor, library and threads,
and what is there is never measured again: the forms, and with them the last digits of logits, stay the same from run
to run on a machine, in all processes, whatever else they do.

Forms differ by rounding only, as products of different numbers of tokens do anyway: what is promised to be equal
between them (speculation and plain decoding, a batch and its rows alone) is equal up to that rounding, as before.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from consort.core.cache import cache_folder
from consort.core.errors import ConsortError
from consort.core.files import write_json
from consort.core.processor import processor

LOG = logging.getLogger(__name__)

MOST = 6
"""Up to so many tokens there is a choice; more are multiplied by `F.linear`."""

LEAST = 2**17
"""Smaller matrices are multiplied by `F.linear`."""

MARGIN = 0.9
"""Another form is taken only if it takes at most this share of the time of `F.linear`."""

REPEATS = 7
SLICE = 2**22
"""Of larger matrices, so many numbers are measured."""


def left(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(W x^T)^T; of a single token, twice, since a matrix times a vector is slower on some processors."""
    y = torch.mm(weight, (x if x.shape[0] > 1 else x.repeat(2, 1)).t())[:, : x.shape[0]].t().contiguous()
    return y if bias is None else y.add_(bias)


def twice(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T with every token computed twice."""
    return F.linear(x.repeat(2, 1), weight, bias)[: x.shape[0]]


def column(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W times the one token as a vector."""
    y = torch.mv(weight, x[0])[None]
    return y if bias is None else y.add_(bias)


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "linear": F.linear,
    "left": left,
    "twice": twice,
    "column": column,
}
PLAIN = ("linear",) * MOST


def allowed(count: int) -> list[str]:
    """Forms for so many tokens."""
    return ["linear", "left", "twice", "column"] if count == 1 else ["linear", "left"]


def forms_of(matrices: Sequence[Tensor]) -> dict[tuple[int, int], tuple[str, ...]]:
    """The form for 1, 2, ... `MOST` tokens of each shape among the matrices, measured where it is not known yet."""
    by_shape: dict[tuple[int, int], list[Tensor]] = {}
    for matrix in matrices:
        if matrix.device.type == "cpu" and matrix.dtype == torch.float32 and matrix.numel() >= LEAST:
            by_shape.setdefault((matrix.shape[0], matrix.shape[1]), []).append(matrix.detach())
    table, new = _known(_file()), {}
    for shape, members in by_shape.items():
        key = f"{shape[0]}x{shape[1]}"
        if key not in table:
            new[key] = measured(members)
    if new:
        table = _kept(_file(), new)
    return {shape: tuple(table[f"{shape[0]}x{shape[1]}"]) for shape in by_shape}


@torch.no_grad()
def measured(matrices: Sequence[Tensor]) -> tuple[str, ...]:
    """The fastest form for each number of tokens; the matrices, of one shape, are taken in turns, as a pass does it."""
    rows = max(1, min(matrices[0].shape[0], SLICE // matrices[0].shape[1]))
    turns = [matrix[:rows] for matrix in matrices[:8]]
    return tuple(_fastest(count, turns) for count in range(1, MOST + 1))


def _fastest(count: int, matrices: Sequence[Tensor]) -> str:
    """The form for so many tokens. Each time another matrix is read, as in a pass, so that none lies in a cache."""
    x, next_one = torch.ones(count, matrices[0].shape[1]), cycle(matrices)
    times = dict.fromkeys(allowed(count), float("inf"))
    for _ in range(REPEATS):
        for name in times:
            times[name] = min(times[name], _seconds(partial(FORMS[name], x, next(next_one), None)))
    best = min(times, key=lambda name: times[name])
    return best if times[best] <= MARGIN * times["linear"] else "linear"


def _seconds(work: Callable[[], object]) -> float:
    """CPU time of one thread is not disturbed by other programs; several threads are timed by the clock."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    begun = clock()
    work()
    return clock() - begun


def _file() -> Path:
    parts = [processor(), torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    return cache_folder() / f"products-{sha256(repr(parts).encode()).hexdigest()[:16]}.json"


_TABLES: dict[Path, dict[str, tuple[str, ...]]] = {}
"""What this process goes by: once a shape has its forms, they stay."""


def _known(file: Path) -> Mapping[str, tuple[str, ...]]:
    if file not in _TABLES:
        _TABLES[file] = _read(file)
    return _TABLES[file]


def _kept(file: Path, new: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    """The table with what is new; what another process has written meanwhile comes first."""
    table = {**new, **_read(file), **_known(file)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {key: list(forms) for key, forms in sorted(table.items())})
    except (OSError, ConsortError) as error:
        LOG.warning("the fastest forms of products cannot be kept, and are measured each time: %s", error)
    _TABLES[file] = table
    return table


def _read(file: Path) -> dict[str, tuple[str, ...]]:
    """What is kept in a file; nothing if there is none, or it is damaged and will be written anew."""
    try:
        found = json.loads(file.read_text("utf-8"))
        table = {str(key): tuple(map(str, forms)) for key, forms in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    right = {n: set(allowed(n)) for n in range(1, MOST + 1)}
    return {
        key: forms
        for key, forms in table.items()
        if len(forms) == MOST and all(form in right[n] for n, form in enumerate(forms, 1))
    }
