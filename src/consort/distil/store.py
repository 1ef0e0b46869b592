"""Rows of one model on one corpus, on disk: columns in safetensors shards that are read through a memory map.

A folder has `store.json` (whose rows of which texts, kept how) and a file for each `shard` documents. A shard is whole
or absent, and what it holds depends on its own documents alone, so a killed run goes on with the next shard and ends
with the same bytes. Only real tokens are stored; k = 10 takes 50 bytes a row.

    doc          docs            uint64    the documents' keys
    doc_start    docs + 1        uint64    the first row of each, and the number of rows
    ids          rows x k        uint16 (uint32 for more than 65536 tokens), likeliest first
    logp         rows x k        float16   log-probabilities (nats)
    tail         rows            float16   log-probability of all other tokens
    ce           rows            float32   loss of the next token
    end          rows            uint32    bytes read
    last_end     docs            uint32    bytes read at the last token, which predicts nothing
    row_start    rows + 1        uint64    only with `mass`: then ids and logp are flat, so many for each row
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from consort.core.errors import BadData, Incompatible
from consort.core.files import write_atomic, write_json
from consort.core.journal import Journal, key_of
from consort.core.progress import Advance
from consort.distil.corpus import Document, corpus_key
from consort.distil.options import Collection
from consort.distil.rows import Rows, no_rows, read_rows
from consort.models.base import Tokenizer
from consort.models.token_model import TokenModel

HEADER = "store.json"
VERSION = 1


def collect(
    model: Callable[[], TokenModel],
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    folder: Path,
    options: Collection,
    *,
    stamp: str,
    advance: Advance = lambda amount: None,
) -> Store:
    """Record the rows of a model on `documents` in `folder`; what is there already is kept.

    `model` is asked for only if something is missing; `stamp` identifies its weights. `advance` gets the
    number of documents done. Raises OutputExists for a folder of something else, and what `read_rows` raises.
    """
    head = header(tokenizer, documents, options, stamp)
    journal = Journal(folder, key_of(head), ordered=True)
    done = journal.open()
    starts = range(0, len(documents), options.shard)
    advance(min(len(done) * options.shard, len(documents)))
    if len(done) < len(starts):
        at_work = model()
        for number in range(len(done), len(starts)):
            part = documents[starts[number] : starts[number] + options.shard]
            rows = read_rows(at_work, part, options.k, options.mass)
            name = f"rows-{number:05d}.safetensors"
            write_atomic(folder / name, save(_columns(part, rows, head["ids"], options.mass is not None)))
            done.append({"file": name, "documents": len(part), "rows": sum(map(len, rows))})
            journal.append(done[-1])
            advance(len(part))
    if not (folder / HEADER).is_file():
        write_json(folder / HEADER, head | {"shards": done})
    return Store(folder, tokenizer)


def header(tokenizer: Tokenizer, documents: Sequence[Document], options: Collection, stamp: str) -> dict[str, Any]:
    """What a store's rows depend on."""
    return {
        "version": VERSION,
        "model": stamp,
        "tokenizer": tokenizer.vocabulary_key,
        "corpus": corpus_key(documents),
        "documents": len(documents),
        "k": options.k,
        "mass": options.mass,
        "model_dtype": options.dtype,
        "ids": "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32",
        "shard": options.shard,
    }


def _columns(
    documents: Sequence[Document], rows: Sequence[Rows], id_type: str, is_ragged: bool
) -> dict[str, NDArray[Any]]:
    def whole(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(r, name) for r in rows])

    ids, logp = whole_width([r.ids for r in rows], 0), whole_width([r.logp for r in rows], -np.inf)
    found: dict[str, NDArray[Any]] = {
        "doc": np.array([d.key for d in documents], np.uint64),
        "doc_start": np.cumsum([0, *map(len, rows)]).astype(np.uint64),
        "last_end": np.array([r.next_end[-1] if len(r) else 0 for r in rows], np.uint32),
        "tail": whole("tail").astype(np.float16),
        "ce": whole("ce").astype(np.float32),
        "end": whole("end").astype(np.uint32),
    }
    if is_ragged:
        real = np.isfinite(logp)
        found["row_start"] = np.cumsum([0, *real.sum(1)]).astype(np.uint64)
        ids, logp = ids[real], logp[real]
    return found | {"ids": ids.astype(id_type), "logp": logp.astype(np.float16)}


def whole_width(arrays: Sequence[NDArray[Any]], fill: float) -> NDArray[Any]:
    """Matrices one below the other, filled up to the widest."""
    width = max(array.shape[1] for array in arrays)
    return np.concatenate([np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=fill) for a in arrays])


class Store:
    """A folder that `collect` finished, read document by document through a memory map.

    Raises BadData for a folder that is none, Incompatible where its rows are of another tokenizer.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        self.folder, self.tokenizer = folder, tokenizer
        try:
            self.header = json.loads((folder / HEADER).read_text("utf-8"))
            shards = [shard["file"] for shard in self.header["shards"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "collect it again, or name a folder that a fusion has finished"
            raise BadData("is no finished store of rows", field=str(folder), hint=hint) from error
        if self.header["tokenizer"] != tokenizer.vocabulary_key:
            hint = "name the model that the rows are of"
            raise Incompatible("its rows are of another vocabulary than the model's", field=str(folder), hint=hint)
        self._files = [self._opened(name) for name in shards]

    def _opened(self, name: str) -> Any:
        try:
            return safe_open(self.folder / name, framework="numpy")
        except (OSError, SafetensorError) as error:
            raise BadData(f"unreadable: {error}", field=str(self.folder / name), hint="collect it again") from error

    @cached_property
    def places(self) -> dict[int, tuple[int, int]]:
        """Shard and position of each document, by key."""
        keys = [file.get_tensor("doc").tolist() for file in self._files]
        return {key: (shard, at) for shard, own in enumerate(keys) for at, key in enumerate(own)}

    @cached_property
    def _starts(self) -> list[tuple[NDArray[np.uint64], NDArray[np.uint32]]]:
        return [(file.get_tensor("doc_start"), file.get_tensor("last_end")) for file in self._files]

    def rows(self, document: Document) -> Rows | None:
        if document.key not in self.places:
            return None
        shard, at = self.places[document.key]
        file, (starts, last) = self._files[shard], self._starts[shard]
        begin, stop = int(starts[at]), int(starts[at + 1])
        if begin == stop:  # a document of one token; an empty slice at a column's end is an error of safetensors
            return no_rows()

        def column(name: str) -> NDArray[Any]:
            found: NDArray[Any] = file.get_slice(name)[begin:stop]
            return found

        ids, logp = self._kept(file, begin, stop)
        end = column("end").astype(np.int64)
        next_end = np.append(end[1:], int(last[at]))[: len(end)]
        tail = column("tail").astype(np.float32)
        return Rows(ids.astype(np.int64), logp.astype(np.float32), tail, column("ce"), end, next_end)

    def _kept(self, file: Any, begin: int, stop: int) -> tuple[NDArray[Any], NDArray[Any]]:
        if self.header["mass"] is None:
            return file.get_slice("ids")[begin:stop], file.get_slice("logp")[begin:stop]
        starts = file.get_slice("row_start")[begin : stop + 1].astype(np.int64)
        counts = np.diff(starts)
        real = np.arange(counts.max(initial=1)) < counts[:, None]
        ids, logp = np.zeros(real.shape, np.int64), np.full(real.shape, -np.inf, np.float32)
        ids[real] = file.get_slice("ids")[starts[0] : starts[-1]]
        logp[real] = file.get_slice("logp")[starts[0] : starts[-1]]
        return ids, logp

    def check_overlap(self, documents: Sequence[Document]) -> int:
        """How many of the documents it knows; raises Incompatible if it is none."""
        known = sum(document.key in self.places for document in documents)
        if not known:
            hint = "collect the rows on this corpus, read with the same block"
            raise Incompatible("has none of the corpus' documents", field=str(self.folder), hint=hint)
        return known
