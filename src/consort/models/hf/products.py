"""How a matrix is multiplied by a few tokens: the forms, and which of them is fastest on this processor.

A processor may be faster at W x^T than at x W^T for a few tokens, or at two tokens than at one; which, differs between
processors and libraries by factors. So each shape is measured once for each number of tokens when a model of that shape
is first opened, in about half a second for all: every form is tried on all matrices in the order of a pass, so that
none lies in a cache that would not lie there in a pass. What was found is kept on disk by processor, library and
threads, and what is there is never measured again: the forms, and with them the last digits of logits, stay the same
from run to run on a machine, in all processes, whatever else they do.

Forms differ by rounding only, as products of different numbers of tokens do anyway: what is promised to be equal
between them (speculation and plain decoding, a batch and its rows alone) is equal up to that rounding, as before.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
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

ROUNDS, SECONDS = 5, 0.5
"""How often every form is tried, in rounds over all matrices: two at least, and no further one after `SECONDS`."""
SLICE, MOST_READ = 2**21, 2**25
"""How many numbers of a matrix are measured, and of all matrices together; at least one matrix of each shape is."""


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
    measurable = [m.detach() for m in matrices if m.device.type == "cpu" and m.dtype == torch.float32]
    measurable = [m for m in measurable if m.numel() >= LEAST]
    shapes = dict.fromkeys((m.shape[0], m.shape[1]) for m in measurable)
    table = _known(_file())
    missing = [shape for shape in shapes if _key(shape) not in table]
    if missing:
        found = measured(measurable)
        table = _kept(_file(), {_key(shape): found[shape] for shape in missing})
    return {shape: tuple(table[_key(shape)]) for shape in shapes}


Shape = tuple[int, int]


def _key(shape: Shape) -> str:
    return f"{shape[0]}x{shape[1]}"


@torch.no_grad()
def measured(matrices: Sequence[Tensor]) -> dict[Shape, tuple[str, ...]]:
    """The fastest form of each shape for each number of tokens, from passes over the matrices in their order."""
    walk = _walk(matrices)
    inputs = {(n, m.shape[1]): torch.ones(n, m.shape[1]) for n in range(1, MOST + 1) for _, m in walk}
    times: dict[tuple[Shape, int, str], float] = {}
    begun = time.perf_counter()
    for done in range(ROUNDS):
        if done > 1 and time.perf_counter() - begun > SECONDS:
            break
        for count in range(1, MOST + 1):
            for name in allowed(count):
                for shape, seconds in _pass(walk, name, {m.shape[1]: inputs[count, m.shape[1]] for _, m in walk}):
                    at = shape, count, name
                    times[at] = min(times.get(at, seconds), seconds)
    return {
        shape: tuple(_fastest({n: times[shape, c, n] for n in allowed(c)}) for c in range(1, MOST + 1))
        for shape in dict.fromkeys(shape for shape, _ in walk)
    }


def _walk(matrices: Sequence[Tensor]) -> list[tuple[Shape, Tensor]]:
    """What is read in a pass that stands for that over all matrices: a part of each, or of some of each shape."""
    parts = [((m.shape[0], m.shape[1]), m[: max(1, SLICE // m.shape[1])]) for m in matrices]
    share = min(1.0, MOST_READ / sum(part.numel() for _, part in parts))
    left = {shape: max(1, int(share * count)) for shape, count in Counter(shape for shape, _ in parts).items()}
    kept = []
    for shape, part in parts:
        if left[shape]:
            left[shape] -= 1
            kept.append((shape, part))
    return kept


def _pass(
    walk: Sequence[tuple[Shape, Tensor]], name: str, inputs: Mapping[int, Tensor]
) -> Iterator[tuple[Shape, float]]:
    """Mean seconds of each shape in one pass in which every product has the same form."""
    spent: dict[Shape, list[float]] = {}
    for shape, matrix in walk:
        spent.setdefault(shape, []).append(_seconds(partial(FORMS[name], inputs[matrix.shape[1]], matrix, None)))
    for shape, seconds in spent.items():
        yield shape, sum(seconds) / len(seconds)


def _fastest(times: Mapping[str, float]) -> str:
    best = min(times, key=lambda name: times[name])
    return best if times[best] <= MARGIN * times["linear"] else "linear"


def _seconds(work: Callable[[], object]) -> float:
    """CPU time of one thread is not disturbed by other programs; several threads are timed by the clock."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    begun = clock()
    work()
    return clock() - begun


def _file() -> Path:
    parts = [
        "in the order of a pass",
        processor(),
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
    ]
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
