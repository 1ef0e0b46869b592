"""Checkpoints with different vocabularies brought to one: their embeddings and heads have the same rows for the same
tokens, and the tokenizer beside them says so.

Row of token k in a model: its own if it has k (unless a source is forced); else the configured source; else that of
the only model that has k; else the base's; else the mean of those that have it. Padding rows beyond the tokenizer stay
where a model has them and are the mean of its tokens' rows where not.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.errors import BadCheckpoint, Incompatible, listing
from consort.weights.checkpoint import BLOCK, Checkpoint, Spec, no_tensor, ranges, round_into
from consort.weights.family import layer_of, role_of
from consort.weights.tied import could_be_head, ends_of, untied
from consort.weights.views.basic import View
from consort.weights.vocabulary.files import (
    OF_TOKENIZER,
    generation_config,
    remapped,
    tokenizer_files,
    with_rows,
)
from consort.weights.vocabulary.policy import read_policy
from consort.weights.vocabulary.read import Vocabulary, differences, main_file, read_vocabulary, same_content
from consort.weights.vocabulary.rows import RowMap, Rows, row_maps, target_ids, target_rows

GAP = 8
"""Rows between two wanted ones that are read along with them rather than skipped."""


def align_vocabularies(
    models: Sequence[Checkpoint], base: Checkpoint | None = None, tokenizer: Any = None
) -> list[Checkpoint]:
    """`models` and then `base`, with one vocabulary as `tokenizer` wants it (see `vocab_policy`); no tensor is read.

    By default nothing is changed, and vocabularies that differ are Incompatible. Raises BadParameter, BadCheckpoint
    (a token whose id has no row), Incompatible, Unsupported.
    """
    inputs = [*models] if base is None else [*models, base]
    donor = 0 if base is None else len(inputs) - 1
    policy = read_policy(tokenizer, inputs, donor)
    if policy.source == "none":
        _refuse_differing(inputs, base)
        return inputs
    vocabularies = [_vocabulary(ckpt) for ckpt in inputs]
    rows = [_rows(ckpt, vocabulary) for ckpt, vocabulary in zip(inputs, vocabularies, strict=True)]
    ids = target_ids(vocabularies, policy, donor)
    kept = policy.source if isinstance(policy.source, int) else donor
    size = max(ids.values(), default=-1) + 1
    count = target_rows(size, rows, kept, policy)
    maps = row_maps(vocabularies, rows, ids, count, policy, None if base is None else donor)
    target = Target(inputs, vocabularies, ids, kept, size, next(filter(None, map(_own_head, inputs)), None))
    return [Aligned(ckpt, i, maps[i], target) for i, ckpt in enumerate(inputs)]


@dataclass(frozen=True)
class Target:
    """What the aligned models share: all inputs, and the output's vocabulary. `kept` is the input that it is from.

    `head` is the name of a head that an input has apart from its embedding; then all aligned models have one.
    """

    inputs: Sequence[Checkpoint]
    vocabularies: Sequence[Vocabulary]
    ids: Mapping[str, int]
    kept: int
    size: int
    head: str | None

    @cached_property
    def files(self) -> Mapping[str, Path | bytes]:
        return tokenizer_files(self.inputs[self.kept], self.inputs, self.vocabularies, self.ids)


class Aligned(View):
    """Input number `number` of an alignment: its embedding and head have the rows of `rows`, all else is as it was."""

    def __init__(self, source: Checkpoint, number: int, rows: RowMap, target: Target) -> None:
        super().__init__(source, source.name)
        self._number, self._map, self._target = number, rows, target
        tokens = token_tensors(source, target.vocabularies[number])
        self._head = target.head if _own_head(source) is None else None
        self._tokens = frozenset([*tokens, self._head] if self._head else tokens)
        self._check_widths()
        self._means: dict[str, Tensor] = {}
        self._lock = threading.Lock()

    @property
    def config(self) -> Mapping[str, Any]:
        kept = self._target.inputs[self._target.kept]
        config = with_rows(remapped(self.source.config, self._new_id, kept.config), self._map.rows)
        return untied(config) if self._head else config

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        """The model, and those it borrows rows from."""
        others = dict.fromkeys(part.model for part in self._map.borrowed)
        return (self.source, *(self._target.inputs[i] for i in others))

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(dict.fromkeys([*self.source.keys(), *([self._head] if self._head else [])]))

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        spec = self.source.spec(self._in_source(name))
        return Spec((self._map.rows, *spec.shape[1:]), spec.dtype) if name in self._tokens else spec

    def files(self) -> Mapping[str, Path | bytes]:
        own, kept = self.source.files(), self._target.inputs[self._target.kept].files()
        rest = {name: content for name, content in own.items() if name not in OF_TOKENIZER}
        return {**rest, **generation_config(own, self._new_id, kept), **self._target.files}

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name not in self._tokens:
            self.source.read_into(name, start, stop, out)
            return
        columns = prod(self.spec(name).shape[1:])
        dtype = torch.float64 if self.spec(name).dtype == torch.float64 else torch.float32
        for low, high in ranges(-(-stop // columns) - start // columns, max(1, BLOCK // columns)):
            first, last = start // columns + low, start // columns + high
            block = self._rows(name, first, last, dtype).view(-1)
            begin, end = max(start, first * columns), min(stop, last * columns)
            round_into(block[begin - first * columns : end - first * columns], out[begin - start : end - start])

    def _in_source(self, name: str) -> str:
        """The model's own tensor for `name`: of a tied model the embedding for the head."""
        return _counterpart(self.source, name) if name == self._head else name

    @cached_property
    def _new_id(self) -> Mapping[int, int]:
        """The id in the output of each of the model's own ids that has one."""
        own = self._target.vocabularies[self._number].tokens
        kept = {i: i for i in range(self._target.size, self._map.rows) if i not in own}
        return kept | {i: self._target.ids[token] for i, token in own.items() if token in self._target.ids}

    def _rows(self, name: str, first: int, last: int, dtype: torch.dtype) -> Float[Tensor, "row columns"]:
        """Rows [first, last) of the output: one gather from each model that has some of them."""
        shape = self.spec(name).shape
        out = torch.zeros(last - first, prod(shape[1:]), dtype=dtype)
        own = self._map.own[first:last]
        at = np.flatnonzero(own >= 0)
        out[torch.from_numpy(at)] = gather(self.source, self._in_source(name), own[at], out)
        for part in self._map.borrowed:
            inside = (part.targets >= first) & (part.targets < last)
            if inside.any():
                lender = self._target.inputs[part.model]
                found = gather(lender, _counterpart(lender, name), part.sources[inside], out)
                share = np.broadcast_to(part.share, part.targets.shape)[inside]
                found *= torch.from_numpy(np.ascontiguousarray(share)).to(dtype).unsqueeze(1)
                out.index_add_(0, torch.from_numpy(part.targets[inside] - first), found)
        fresh = self._map.fresh[(self._map.fresh >= first) & (self._map.fresh < last)]
        if len(fresh):
            out[torch.from_numpy(fresh - first)] = self._mean(name, dtype)
        return out

    def _mean(self, name: str, dtype: torch.dtype) -> Float[Tensor, " columns"]:
        """The mean of the rows of the model's tokens, in float64, block by block."""
        with self._lock:
            if name not in self._means:
                columns, there = prod(self.spec(name).shape[1:]), self._in_source(name)
                total, like = torch.zeros(columns, dtype=torch.float64), torch.empty(0, columns, dtype=torch.float64)
                for low, high in ranges(len(self._map.real), max(1, BLOCK // columns)):
                    total += gather(self.source, there, self._map.real[low:high], like).sum(0)
                self._means[name] = total / max(1, len(self._map.real))
            return self._means[name].to(dtype)

    def _check_widths(self) -> None:
        """Rows can only be borrowed where they have the same width."""
        faults = []
        for name in sorted(self._tokens):
            for i in dict.fromkeys(part.model for part in self._map.borrowed):
                lender = self._target.inputs[i]
                mine, theirs = self.spec(name).shape, lender.spec(_counterpart(lender, name)).shape
                if mine[1:] != theirs[1:]:
                    rows = f"rows of {list(mine[1:])} in {self.name}, of {list(theirs[1:])} in {lender.name}"
                    faults.append(f"{name} has {rows}")
        if faults:
            raise Incompatible(listing(faults), field="tokenizer", hint="merge models of one width")


def gather(ckpt: Checkpoint, name: str, rows: Rows, like: Tensor) -> Float[Tensor, "row columns"]:
    """`rows` of a tensor, in their order, in the width and dtype of `like`: runs of rows are read at once."""
    columns = like.shape[1]
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    cuts = [0, *(np.flatnonzero(np.diff(ascending) > GAP) + 1), len(rows)] if len(rows) else []
    out = torch.empty(len(rows), columns, dtype=like.dtype)
    for low, high in zip(cuts[:-1], cuts[1:], strict=True):
        first, last = int(ascending[low]), int(ascending[high - 1]) + 1
        piece = torch.empty((last - first) * columns, dtype=like.dtype)
        ckpt.read_into(name, first * columns, last * columns, piece)
        taken = piece.view(-1, columns)[torch.from_numpy(ascending[low:high] - first)]
        out[torch.from_numpy(order[low:high])] = taken
    return out


def token_tensors(ckpt: Checkpoint, vocabulary: Vocabulary) -> list[str]:
    """Embedding and head: those whose rows are tokens. Raises BadCheckpoint for a token whose id has no row."""
    keys = ckpt.keys()
    found: list[str] = []
    for role in ("embedding", "head"):
        names = [n for n in keys if role_of(n) == role and layer_of(n) is None and ckpt.spec(n).shape]
        enough = [n for n in names if ckpt.spec(n).shape[0] >= vocabulary.size]
        if role == "head":  # others are called so: a head of scores, or of further tokens
            names = [n for n in names if could_be_head(n, ckpt)]
        if names and not enough:
            most = max(ckpt.spec(name).shape[0] for name in names)
            lost = [f"{token!r} has id {i}" for token, i in vocabulary.ids.items() if i >= most]
            message = f"{listing(lost, 5)}, but {names[0]} has {most} rows"
            raise BadCheckpoint(message, field=ckpt.name, hint="the tokenizer is not this model's, or is not resized")
        found += enough
    return found


def _own_head(ckpt: Checkpoint) -> str | None:
    """The head of a model that does not tie it to its embedding."""
    return ends_of(ckpt).own_head


def _counterpart(ckpt: Checkpoint, name: str) -> str:
    """What a model has for a tensor of another: a tied one its embedding for the head."""
    ends, keys = ends_of(ckpt), ckpt.keys()
    if name in keys and name != ends.copy:
        return name
    if ends.tied and ends.embedding and could_be_head(name, ckpt):
        return ends.embedding
    raise no_tensor(ckpt, name)


def _vocabulary(ckpt: Checkpoint) -> Vocabulary:
    vocabulary = read_vocabulary(ckpt)
    if vocabulary is None:
        hint = "put its tokenizer.json beside it"
        raise BadCheckpoint("has no tokenizer that tells its tokens", field=ckpt.name, hint=hint)
    return vocabulary


def _rows(ckpt: Checkpoint, vocabulary: Vocabulary) -> int:
    """Rows that all of a model's token tensors have."""
    names = token_tensors(ckpt, vocabulary)
    if not names:
        raise BadCheckpoint("has no embedding", field=ckpt.name, hint="only language models have a vocabulary")
    return min(ckpt.spec(name).shape[0] for name in names)


def _refuse_differing(inputs: Sequence[Checkpoint], base: Checkpoint | None) -> None:
    """Policy none: what tokenizers are there must give every token one id, and embeddings as many rows."""
    told = [(ckpt, files, name) for ckpt in inputs if (name := main_file(files := ckpt.files()))]
    keep = "base keeps the base's" if base is not None else f"{inputs[0].name} keeps its own"
    hint = f"tokenizer: union keeps the tokens of all, tokenizer: {keep}"
    for ckpt, files, name in told[1:]:
        first, first_files, first_name = told[0]
        if name == first_name and same_content(first_files[first_name], files[name]):
            continue
        one, other = read_vocabulary(first), read_vocabulary(ckpt)
        if one is None or other is None:
            continue
        found = differences(one, other, _labels(first, ckpt))
        if found:
            raise Incompatible(f"the vocabularies differ: {'; '.join(found)}", field="tokenizer", hint=hint)
    rows = [_row_faults(told[0][0], ckpt) for ckpt, _, _ in told[1:]]
    if any(rows):
        message = f"one vocabulary, but other rows: {listing(fault for found in rows for fault in found)}"
        raise Incompatible(message, field="tokenizer", hint=hint)


def _row_faults(one: Checkpoint, other: Checkpoint) -> list[str]:
    """Embeddings and heads that differ in nothing but their rows."""
    faults, theirs = [], dict.fromkeys(other.keys())
    for name in one.keys():
        if name in theirs and role_of(name) in ("embedding", "head") and layer_of(name) is None:
            a, b = one.spec(name).shape, other.spec(name).shape
            if a[:1] != b[:1] and a[1:] == b[1:]:
                faults.append(f"{name} has {a[0]} in {one.name}, {b[0]} in {other.name}")
    return faults


def _labels(one: Checkpoint, other: Checkpoint) -> tuple[str, str]:
    return (one.name, other.name) if one.name != other.name else (f"{one.name} (first)", f"{other.name} (other)")
