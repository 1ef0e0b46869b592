"""Maps from the tokens of one vocabulary to those of another, by five rules; kept on disk where they take long.

A map is an array: for each id of the source the id of the pivot, -1 for a token that is dropped (its probability goes
to the tail). Rules `statistics` and `official` go by how often two tokens met when a corpus was aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from consort.core.errors import Incompatible, Unsupported
from consort.core.files import write_atomic
from consort.core.journal import key_of
from consort.models.base import Tokenizer
from consort.models.tokens.align import Pieces, exact_map, first_map
from consort.models.tokens.edit_distance import Nearest, distances
from consort.models.tokens.ends import Ids
from consort.models.tokens.pieces import token_bytes

Rule = Literal["statistics", "official", "min_edit", "first_piece", "exact"]
COUNTED = ("statistics", "official")


@dataclass(frozen=True, slots=True)
class Met:
    """How often a token of the pivot and one of the source met: three arrays of one length, each pair once."""

    pivot: Ids
    source: Ids
    times: Ids


class CoOccurrences:
    """Counts meetings of tokens."""

    def __init__(self, pivot_size: int) -> None:
        self.pivot_size, self._times = pivot_size, np.zeros(0, np.int64)
        self._pairs = np.zeros(0, np.int64)

    def add(self, pivot: Ids, source: Ids) -> None:
        """Pairs of ids that met, position by position."""
        pairs, times = np.unique(source * self.pivot_size + pivot, return_counts=True)
        merged, places = np.unique(np.concatenate([self._pairs, pairs]), return_inverse=True)
        weights = np.concatenate([self._times, times])
        self._times = np.bincount(places, weights, minlength=len(merged)).astype(np.int64)
        self._pairs = merged

    def met(self) -> Met:
        """All pairs so far, by source and then pivot."""
        return Met(self._pairs % self.pivot_size, self._pairs // self.pivot_size, self._times)


def vocabulary_map(
    source: Tokenizer, pivot: Tokenizer, rule: Rule = "statistics", met: Met | None = None, *, cache: Path | None = None
) -> Ids:
    """The map of `source` to `pivot` by `rule`; ends of text go to the end of text.

    With a folder `cache` it is read from there, or left there, under a name that depends on both vocabularies, the
    rule and the counts. Tokenizers of one vocabulary have the identity, whatever the rule. Raises Unsupported where
    counts are needed and not given, Incompatible where no text of one is a text of the other.
    """
    if source.vocabulary_key == pivot.vocabulary_key:
        return np.arange(source.vocab_size)
    if rule in COUNTED and met is None:
        raise Unsupported(f"the map {rule!r} needs counts of tokens that met", field="map", hint="align a corpus first")
    counts = [] if met is None or rule not in COUNTED else [a.tolist() for a in (met.pivot, met.source, met.times)]
    key = key_of([1, rule, source.vocabulary_key, pivot.vocabulary_key, source.eos, pivot.eos, counts])
    found = cached(cache, f"{rule}-{key}", lambda: {"ids": _made(source, pivot, rule, met)})["ids"]
    if not (found >= 0).any():
        hint = "give a source whose tokenizer writes the same language"
        raise Incompatible("no token has a counterpart in the pivot's vocabulary", field="source", hint=hint)
    return found


def _made(source: Tokenizer, pivot: Tokenizer, rule: Rule, met: Met | None) -> Ids:
    ours, theirs = token_bytes(source), token_bytes(pivot)
    found: Ids = exact_map(ours, theirs).numpy()
    if rule == "first_piece":
        found = first_map(ours, pivot).numpy()
    elif rule == "min_edit":
        _fill_nearest(found, ours, theirs)
    elif met is not None and rule in COUNTED:
        unknown = getattr(pivot, "unk", None)
        spare = pivot.eos if unknown is None else unknown
        official = rule == "official"
        found = np.full_like(found, -1) if official else found
        _fill_met(found, ours, theirs, met, _official if official else _most_often)
        if official and spare is not None:
            found[[i for i, piece in enumerate(ours) if piece is not None and found[i] < 0]] = spare
    if source.eos is not None and source.eos < len(found):
        found[source.eos] = -1 if pivot.eos is None else pivot.eos
    return found


def _fill_nearest(found: Ids, source: Pieces, pivot: Pieces) -> None:
    missing = [i for i in np.flatnonzero(found < 0).tolist() if source[i]]
    found[missing] = Nearest(pivot).many([source[i] or b"" for i in missing])


Choose = Callable[[NDArray[np.int64], NDArray[np.int64], bytes, list[bytes]], Iterable[float]]
"""From times met, candidates' distances, and strings: a score for each candidate, least is best."""


def _fill_met(found: Ids, source: Pieces, pivot: Pieces, met: Met, choose: Choose) -> None:
    """The best of the pivot's tokens that each source token met; of equals the nearest, then the lowest."""
    starts = np.flatnonzero(np.diff(met.source, prepend=-1)).tolist()
    for start, stop in zip(starts, [*starts, len(met.source)][1:], strict=True):
        token = int(met.source[start])
        if token >= len(source) or found[token] >= 0 or not source[token]:
            continue
        candidates = met.pivot[start:stop]
        strings = [(pivot[i] if i < len(pivot) else None) or b"" for i in candidates.tolist()]
        apart = distances([source[token] or b""], strings)[0]
        scores = choose(met.times[start:stop], apart, source[token] or b"", strings)
        ranked = sorted(zip(scores, apart.tolist(), candidates.tolist(), strings, strict=True))
        found[token] = next((i for _, _, i, text in ranked if text), -1)


def _most_often(times: NDArray[np.int64], apart: NDArray[np.int64], own: bytes, others: list[bytes]) -> list[float]:
    return [float(-n) for n in times]


def _official(times: NDArray[np.int64], apart: NDArray[np.int64], own: bytes, others: list[bytes]) -> list[float]:
    """sigmoid(times) · distance · (0.1 if one contains the other): the weight grows with the count, as released."""
    inside = np.array([0.1 if own in other or other in own else 1.0 for other in others])
    scores: list[float] = (apart * inside / (1 + np.exp(-times.astype(float)))).tolist()
    return scores


def cached(folder: Path | None, name: str, make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Arrays from a file of the folder; made, and left there, if it is missing or damaged."""
    file = None if folder is None else folder / f"{name}.safetensors"
    if file is not None and file.is_file():
        try:
            known: dict[str, NDArray[Any]] = load_file(file)
            return known
        except SafetensorError:
            file.unlink()
    found = make()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, save(found))
    return found
