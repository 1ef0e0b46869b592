"""A source beside the pivot: which of its rows stand for which pivot positions, and what its tokens are there.

Kept in a folder: `partners-NNNNN.safetensors` (for each row of each document the source's row, -1 for none; a shard of
documents each) and the vocabulary map. Killed, it goes on with the next shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from consort.core.files import write_atomic
from consort.core.journal import Journal, key_of
from consort.core.progress import Advance
from consort.distil.corpus import Document, corpus_key
from consort.distil.options import Alignment
from consort.models.base import Tokenizer
from consort.models.tokens.dtw import costs, partners, path, spellings
from consort.models.tokens.ends import Ids, Spelled, same_end
from consort.models.tokens.pieces import token_bytes
from consort.models.tokens.vocabulary_map import COUNTED, CoOccurrences, Met, vocabulary_map

SHARD = 1024
"""Documents in one file of partners."""


class Pair:
    """The alignment of a source with a pivot on a corpus. `ids` maps the source's tokens, -1 for dropped."""

    def __init__(self, folder: Path, documents: Sequence[Document], ids: Ids) -> None:
        self.folder, self.ids = folder, ids
        self._numbers = {document.key: number for number, document in enumerate(documents)}
        self._shard = lru_cache(maxsize=16)(self._read)

    def _read(self, number: int) -> tuple[Ids, Ids]:
        columns = load_file(self.folder / _file(number))
        return columns["doc_start"], columns["partner"]

    def partners(self, document: Document) -> Ids:
        """For each row of the pivot the row of the source, -1 for none."""
        number = self._numbers[document.key]
        starts, partner = self._shard(number // SHARD)
        at = number % SHARD
        return partner[int(starts[at]) : int(starts[at + 1])].astype(np.int64)


def _file(number: int) -> str:
    return f"partners-{number:05d}.safetensors"


def align(
    pivot: Tokenizer,
    source: Tokenizer,
    documents: Sequence[Document],
    folder: Path,
    options: Alignment,
    *,
    advance: Advance = lambda amount: None,
) -> Pair:
    """Align a source's tokenizer with the pivot's on `documents`; no model is needed. What is there is kept.

    Raises OutputExists for a folder of something else, Incompatible where the vocabularies share nothing.
    """
    chosen = {name: asdict(options)[name] for name in ("positions", "rule", "map")}
    key = key_of([2, chosen, pivot.vocabulary_key, source.vocabulary_key, pivot.eos, source.eos, corpus_key(documents)])
    journal = Journal(folder, key, ordered=True)
    done = journal.open()
    met = None
    starts = range(0, len(documents), SHARD)
    if pivot.vocabulary_key != source.vocabulary_key and options.map in COUNTED:
        met = _met(pivot, source, documents, folder, options)
    ids = vocabulary_map(source, pivot, options.map, met, cache=folder)
    alike = _alike(pivot, source, ids) if options.rule == "soft" else {}
    advance(min(len(done) * SHARD, len(documents)))
    for number in range(len(done), len(starts)):
        part = documents[starts[number] : starts[number] + SHARD]
        found = [_partners(pivot, source, document, options, alike) for document in part]
        columns = {
            "doc_start": np.cumsum([0, *map(len, found)]).astype(np.uint64),
            "partner": np.concatenate(found).astype(np.int32),
        }
        write_atomic(folder / _file(number), save(columns))
        journal.append({"file": _file(number), "documents": len(part)})
        advance(len(part))
    return Pair(folder, documents, ids)


def _partners(
    pivot: Tokenizer, source: Tokenizer, document: Document, options: Alignment, alike: Mapping[bytes, bytes]
) -> Ids:
    """For each token of the pivot but the last (which predicts nothing) the source's token that stands for it."""
    ours, theirs = document.spelled(pivot), document.spelled(source)
    if options.positions == "end_offset" or pivot.vocabulary_key == source.vocabulary_key:
        found = same_end(ours.ends, theirs.ends)
    else:
        strings = spellings(source, theirs.ids.tolist()), spellings(pivot, ours.ids.tolist())
        places, _ = path(costs(*strings, options.rule), options.rule)
        found = partners(*strings, places, options.rule, alike=alike)
    found[found == len(theirs) - 1] = -1  # the source's last token predicts nothing either
    return found[: max(len(ours) - 1, 0)]


def _met(pivot: Tokenizer, source: Tokenizer, documents: Sequence[Document], folder: Path, options: Alignment) -> Met:
    """How often tokens met in all documents; kept beside the partners, since it takes a pass over the corpus."""
    file = folder / "met.safetensors"
    if not file.is_file():
        counted = CoOccurrences(pivot.vocab_size)
        for document in documents:
            ours, theirs = document.spelled(pivot), document.spelled(source)
            for i, j in _links(pivot, source, ours, theirs, options):
                counted.add(ours.ids[i], theirs.ids[j])
        found = counted.met()
        columns = {name: getattr(found, name) for name in ("pivot", "source", "times")}
        write_atomic(file, save(columns))
    return Met(**load_file(file))


def _links(
    pivot: Tokenizer, source: Tokenizer, ours: Spelled, theirs: Spelled, options: Alignment
) -> Iterator[tuple[Ids, Ids]]:
    """Positions of pivot and source whose tokens belong together: begin at one byte, or lie on the official path.

    What a row predicts is the token that begins where the row ends; the token that ends there says nothing of it.
    """
    if options.positions == "end_offset":
        found = same_end(ours.ends[:-1], theirs.ends[:-1])
        yield np.flatnonzero(found >= 0) + 1, found[found >= 0] + 1
    else:
        strings = spellings(source, theirs.ids.tolist()), spellings(pivot, ours.ids.tolist())
        places, _ = path(costs(*strings, options.rule), options.rule)
        pairs = [(i, j) for i, at in enumerate(places) for j in at]
        yield np.array([i for i, _ in pairs], np.int64), np.array([j for _, j in pairs], np.int64)


def _alike(pivot: Tokenizer, source: Tokenizer, ids: Ids) -> dict[bytes, bytes]:
    """The map as strings."""
    ours, theirs = token_bytes(pivot), token_bytes(source)
    pairs = ((theirs[i], ours[j]) for i, j in enumerate(ids.tolist()) if 0 <= j < len(ours) and i < len(theirs))
    return {a: b for a, b in pairs if a is not None and b is not None}
