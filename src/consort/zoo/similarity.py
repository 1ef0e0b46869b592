"""How alike the weights of models are: one pass over their tensors for all pairs, no model loaded (2410.05357, 3.1).

The similarity of two matrices is the mean over columns of the cosine of the columns; that of two models the mean over
their attention and MLP matrices. Rows of all models are read side by side, a slab at a time, so every tensor is read
once, and no more of it is in memory than two whole matrices of one model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadParameter, Incompatible, Unsupported
from consort.core.journal import Journal, key_of
from consort.core.progress import track
from consort.weights.checkpoint import CHUNK, Checkpoint
from consort.weights.family import layer_of, role_of
from consort.weights.stats import fingerprint
from consort.zoo.families import architecture_families, shapes_of

Parts = Literal["all", "mlp"]
PARTS: Mapping[str, tuple[str, ...]] = {"all": ("attention", "mlp"), "mlp": ("mlp",)}
Table = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Similarities:
    """All pairs of a zoo, in the order of `names`; None for a pair of different families.

    `weights` and `deltas` are mean column cosines in [-1, 1]. Deltas are differences from a family's base (`base` has
    the names), else from the mean of the family; `norms` are their Euclidean lengths over all matrices compared.
    A model without a difference, such as the base itself, has no cosine of differences: None.
    """

    names: tuple[str, ...]
    families: tuple[tuple[int, ...], ...]
    weights: Table
    deltas: Table
    norms: tuple[float, ...]
    base: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "models": list(self.names),
            "families": [[self.names[i] for i in family] for family in self.families],
            "base": self.base,
            "weights": [list(row) for row in self.weights],
            "deltas": [list(row) for row in self.deltas],
            "norms": list(self.norms),
        }


def similarities(
    models: Sequence[Checkpoint],
    *,
    names: Sequence[str] | None = None,
    base: Checkpoint | Sequence[Checkpoint] | None = None,
    parts: Parts = "all",
    cache: Path | str | None = None,
    force: bool = False,
) -> Similarities:
    """Weight and delta similarity of every pair of `models`, called `names` (default: their own).

    `base`: what deltas are taken from, one for each family where there are several. `parts` "mlp" leaves the attention
    out. With `cache`, a folder, every matrix done is journalled there: killed and called
    again it continues, and called again with the same models it reads no matrix. Raises BadParameter, and Incompatible
    for a base that is of no model's family.
    """
    if not models:
        raise BadParameter("no models", field="models", hint="give two or more")
    if parts not in PARTS:
        raise BadParameter(f"{parts!r} are no parts", field="parts", hint=" or ".join(PARTS))
    labels = tuple(names or [model.name for model in models])
    groups = architecture_families(models)
    given = [] if base is None else list(base) if isinstance(base, Sequence) else [base]
    bases = [_base_of([models[i] for i in group], given) for group in groups]
    for one in given:
        if not any(found is one for found in bases):
            hint = "name the model that the others were tuned from, one for each family"
            raise Incompatible("has another architecture than every model", field=one.name, hint=hint)
    journal, known = _journal(models, given, parts, cache, force)
    passes = [
        _Pass(number, [models[i] for i in group], below, parts)
        for number, (group, below) in enumerate(zip(groups, bases, strict=True))
    ]
    with track("comparing", sum(len(one.matrices) for one in passes)) as advance:
        for each in passes:
            for record in each.run(known):
                if journal is not None and record["matrix"] not in known:
                    journal.append(record)
                advance(1)
    return _table(labels, groups, passes, given)


def _journal(
    models: Sequence[Checkpoint], bases: Sequence[Checkpoint], parts: str, cache: Path | str | None, force: bool
) -> tuple[Journal | None, dict[str, Any]]:
    if cache is None:
        return None, {}
    key = key_of(["similarity", parts, [fingerprint(m) for m in models], [fingerprint(b) for b in bases]])
    journal = Journal(Path(cache), key, force=force, sound=_is_record)
    return journal, {record["matrix"]: record for record in journal.open()}


def _is_record(record: Mapping[str, Any]) -> bool:
    lists = [record.get(key) for key in ("weights", "deltas", "dots")]
    return isinstance(record.get("matrix"), str) and all(isinstance(found, list) for found in lists)


def _base_of(family: Sequence[Checkpoint], bases: Sequence[Checkpoint]) -> Checkpoint | None:
    return next((base for base in bases if len(architecture_families([family[0], base])) == 1), None)


class _Pass:
    """One family's matrices, and sums over those that are done."""

    def __init__(self, number: int, models: Sequence[Checkpoint], base: Checkpoint | None, parts: str) -> None:
        self.number, self.models, self.base = number, models, base
        shapes = shapes_of(models[0])
        self.matrices = [name for name in models[0].keys() if _is_compared(name, shapes[name], PARTS[parts])]
        if not self.matrices and len(models) > 1:
            raise Unsupported("has no attention or MLP matrices", field=models[0].name, hint="compare decoders")
        count = len(models)
        self.weights, self.deltas, self.dots = (torch.zeros(count, count, dtype=torch.float64) for _ in range(3))

    def run(self, known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Compare matrix by matrix, those in `known` from there."""
        for name in self.matrices:
            key = f"{self.number} {name}"
            record = known.get(key) or {"matrix": key, **self._compared(name)}
            for total, part in ((self.weights, "weights"), (self.deltas, "deltas"), (self.dots, "dots")):
                total += torch.tensor(record[part], dtype=torch.float64)
            yield record

    def _compared(self, name: str) -> dict[str, list[list[float]]]:
        shape = self.models[0].spec(name).shape
        columns = shape[-1]
        weights = deltas = torch.zeros(1)
        for slab in _slabs(name, shape, [*self.models, *([] if self.base is None else [self.base])]):
            own = slab[: len(self.models)]
            change = own - (slab[-1] if self.base is not None else own.mean(0))
            weights = weights + torch.einsum("arc,brc->abc", own, own)
            deltas = deltas + torch.einsum("arc,brc->abc", change, change)
        return {
            "weights": _cosine(weights).sum(-1).div(columns).tolist(),
            "deltas": _cosine(deltas).sum(-1).div(columns).tolist(),
            "dots": deltas.double().sum(-1).tolist(),
        }


def _is_compared(name: str, shape: Sequence[int], parts: Sequence[str]) -> bool:
    return layer_of(name) is not None and len(shape) >= 2 and 0 not in shape and role_of(name).split(".")[0] in parts


def _slabs(
    name: str, shape: Sequence[int], models: Sequence[Checkpoint]
) -> Iterator[Float[Tensor, "model row column"]]:
    """The same rows of every model, in float32; all slabs of a tensor together are no more than two of it at once."""
    columns, total = shape[-1], torch.Size(shape).numel()
    rows = total // columns
    step = max(1, min(2 * rows // len(models), CHUNK // columns))
    for first in range(0, rows, step):
        start, stop = first * columns, min(first + step, rows) * columns
        slab = torch.empty(len(models), stop - start)
        for model, out in zip(models, slab, strict=True):
            model.read_into(name, start, stop, out)
        yield slab.view(len(models), -1, columns)


def _cosine(dots: Float[Tensor, "a b column"]) -> Float[Tensor, "a b column"]:
    """Cosines of columns from their dot products; two zero columns are alike, a zero one is like no other."""
    lengths = dots.diagonal().T.clamp_min(0).sqrt()
    lengths = lengths.double()
    product = lengths[:, None] * lengths[None, :]
    both = (lengths[:, None] == 0) & (lengths[None, :] == 0)
    cosine = torch.where(product > 0, dots.double() / product.clamp_min(1e-300), both.double())
    return cosine.clamp(-1, 1)


def _table(
    names: tuple[str, ...], groups: Sequence[Sequence[int]], passes: Sequence[_Pass], bases: Sequence[Checkpoint]
) -> Similarities:
    count = len(names)
    weights: list[list[float | None]] = [[None] * count for _ in names]
    deltas: list[list[float | None]] = [[None] * count for _ in names]
    norms = [0.0] * count
    for group, one in zip(groups, passes, strict=True):
        for a, i in enumerate(group):
            norms[i] = sqrt(max(0.0, float(one.dots[a, a])))
            for b, j in enumerate(group):
                same, matrices = a == b, max(1, len(one.matrices))
                weights[i][j] = 1.0 if same else float(one.weights[a, b]) / matrices
                if float(one.dots[a, a]) > 0 and float(one.dots[b, b]) > 0:
                    deltas[i][j] = 1.0 if same else float(one.deltas[a, b]) / matrices
    label = ", ".join(base.name for base in bases) or None
    families = tuple(tuple(group) for group in groups)
    return Similarities(names, families, _frozen(weights), _frozen(deltas), tuple(norms), label)


def _frozen(rows: Sequence[Sequence[float | None]]) -> Table:
    return tuple(tuple(row) for row in rows)
