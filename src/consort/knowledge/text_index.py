"""An index of passages: their words and, where an encoder was given, their vectors; in memory or mapped from a folder.

`consort index` writes the folder. It keeps the texts themselves, so documents may be moved or deleted afterwards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData, BadParameter, Unsupported
from consort.core.files import sha256_of, write_json
from consort.knowledge import passages as stored
from consort.knowledge import postings as counted
from consort.knowledge.evidence import Evidence
from consort.knowledge.order import best
from consort.knowledge.passages import Passage, Passages, damaged, mapped_array
from consort.knowledge.postings import Postings, Vocabulary, weights_of
from consort.knowledge.vectors import Found, nearest
from consort.knowledge.words import Words

HEADER = "index.json"
FORMAT = 1
VECTORS = "vectors.npy"
LISTS = "vectors.faiss"
CHECKED_BYTES = 1 << 28
"""Files of an index are read and compared with their checksums when it is opened, where all are no larger than this."""

Embed = Callable[[Sequence[str]], Float[np.ndarray, "text size"]]
Find = Callable[[np.ndarray, np.ndarray, int, np.ndarray], list[Found]]
"""Of vectors, queries, k and ranks, what `nearest` gives."""


@dataclass(slots=True)
class TextIndex:
    """Passages, the words in them, and their unit vectors if they have any.

    `encoder` says what made the vectors (`name` and `digest`), by which queries are encoded likewise.
    """

    passages: Passages
    postings: Postings
    words: Words = Words()
    vectors: Float[np.ndarray, "passage size"] | None = None
    encoder: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @classmethod
    def of(
        cls,
        passages: Iterable[Passage | str],
        *,
        words: Words = Words(),
        embed: Embed | None = None,
        encoder: Mapping[str, Any] | None = None,
    ) -> TextIndex:
        """An index in memory. A plain text is named by its place, "1", "2", …

        >>> index = TextIndex.of(["a red fox", "a blue whale", "red red wine"])
        >>> [(hit.id, round(hit.score, 4)) for hit in index.bm25("red", 2)]
        [('3', 0.2686), ('1', 0.188)]
        """
        held = Passages.of(passages)
        vocabulary = Vocabulary()
        block = counted.counted((words.of(held.texts[i]) for i in range(len(held))), vocabulary)
        vectors = None if embed is None else embed([held.texts[i] for i in range(len(held))])
        return cls(held, counted.merged([block], vocabulary), words, vectors, dict(encoder or {}))

    def __len__(self) -> int:
        return len(self.passages)

    def bm25(self, query: str, k: int, *, k1: float = 1.5, b: float = 0.75) -> list[Evidence]:
        """The `k` best passages by BM25; none that has no word of the query."""
        return self.bm25_of(weights_of(self.words.of(query)), query, k, k1=k1, b=b)

    def bm25_of(
        self, weights: Mapping[str, float], query: str, k: int, *, k1: float = 1.5, b: float = 0.75
    ) -> list[Evidence]:
        """The same for words (as `words` reads them) that weigh more or less."""
        scores = self.postings.bm25(weights, k1, b)
        some = np.flatnonzero(scores > 0)
        return self._evidence(some, scores[some], query, k)

    def nearest(
        self, vectors: Float[np.ndarray, "query size"], queries: Sequence[str], k: int, find: Find = nearest
    ) -> list[list[Evidence]]:
        """The `k` passages of largest cosine to each vector. Raises Unsupported for an index without vectors."""
        if self.vectors is None:
            hint = "consort index SOURCE… OUT --encoder minilm"
            raise Unsupported("the index has no vectors", field=str(self.folder or "index"), hint=hint)
        if len(self) and vectors.shape[1] != self.vectors.shape[1]:
            what = f"the encoder gives {vectors.shape[1]} numbers, the index has {self.vectors.shape[1]}"
            raise BadData(what, field="encoder", hint="take the encoder that the index was made with")
        found = find(self.vectors, vectors, k, self.passages.rank)
        return [self._evidence(at, scores, query, k) for query, (at, scores) in zip(queries, found, strict=True)]

    def _evidence(self, at: np.ndarray, scores: np.ndarray, query: str, k: int) -> list[Evidence]:
        order = best(scores, np.asarray(self.passages.rank[at]), k)
        return [self.passages.evidence(int(at[i]), float(scores[i]), query) for i in order]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the index into an empty or new folder, the header last: a folder without one is no index."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        self.passages.save(place)
        self.postings.save(place)
        if self.vectors is not None:
            np.save(place / VECTORS, np.asarray(self.vectors))
        finish(place, self.passages, self.words, self.encoder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> TextIndex:
        """The index of a folder, mapped. Raises BadData for a folder that holds none, or a damaged one."""
        place = Path(folder)
        header = read_header(place)
        check_files(place, header)
        passages = Passages.open(place, header["sources"])
        postings = Postings.open(place)
        vectors = mapped_array(place / VECTORS) if header["encoder"] else None
        if not len(passages) == len(postings.lengths) == (len(passages) if vectors is None else len(vectors)):
            raise damaged(place / HEADER)
        words = Words.read(header["words"], str(place / HEADER))
        return cls(passages, postings, words, vectors, header["encoder"], place)


Index = TextIndex | str | os.PathLike[str]
"""An index, or the folder that `consort index` wrote it to."""


def opened(index: Index) -> TextIndex:
    """The index that an argument names."""
    return index if isinstance(index, TextIndex) else TextIndex.open(index)


def check_index(index: Index) -> None:
    """Raise for a folder that holds no index, or lacks a part of one; only its header is read."""
    if not isinstance(index, TextIndex):
        check_sizes(Path(index), read_header(Path(index)))


def read_header(folder: Path, kind: str = "text") -> dict[str, Any]:
    """What an index says of itself. Raises BadParameter for a folder that holds none, BadData for a damaged one."""
    file = folder / HEADER
    hint = f"write one there: consort index SOURCE… {folder}"
    if not file.is_file():
        what = "is not finished" if (folder / "journal.jsonl").exists() else "holds no index"
        raise BadParameter(what if folder.is_dir() else "is no folder of an index", field=str(folder), hint=hint)
    try:
        header = json.loads(file.read_text("utf-8"))
        made = header["kind"], header["format"]
        known = {"passages": int, "sources": list, "encoder": dict, "words": dict, "files": dict}
        wrong = [key for key, type_ in known.items() if made[0] == "text" and not isinstance(header[key], type_)]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise damaged(file) from fault
    if made[0] != kind:
        what = f"is an index of the kind {made[0]}, not {kind}"
        raise BadParameter(what, field=str(folder), hint=f"consort index SOURCE… OUT --kind {kind}")
    if made[1] != FORMAT or wrong:
        raise BadData("is of another version", field=str(file), hint="build the index again")
    found: dict[str, Any] = header
    return found


def check_sizes(folder: Path, header: Mapping[str, Any]) -> None:
    """Raise BadData for a file that is missing or has another size than the header says."""
    for name, told in header["files"].items():
        if not isinstance(told, Mapping) or not {"bytes", "sha256"} <= set(told):
            raise damaged(folder / HEADER)
        if not (folder / name).is_file() or (folder / name).stat().st_size != told["bytes"]:
            raise damaged(folder / name)


def check_files(folder: Path, header: Mapping[str, Any]) -> None:
    """Raise BadData for a file that has another size than the header says, or where all are small, another content."""
    files = header["files"]
    check_sizes(folder, header)
    if sum(told["bytes"] for told in files.values()) <= CHECKED_BYTES:
        for name, told in files.items():
            if sha256_of(folder / name) != told["sha256"]:
                raise damaged(folder / name)


def finish(
    folder: Path, passages: Passages, words: Words, encoder: Mapping[str, Any], key: str = "", has_lists: bool = False
) -> None:
    """Write the header, by which the folder becomes an index; `key` names documents and settings."""
    more = [name for name, is_there in ((VECTORS, encoder), (LISTS, has_lists)) if is_there]
    names = [*stored.FILES, *counted.FILES, *more]
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in sorted(names)
    }
    header = {
        "kind": "text", "format": FORMAT, "key": key, "passages": len(passages), "words": words.described(),
        "encoder": dict(encoder), "documents": passages.digest(), "files": files, "sources": list(passages.sources),
    }  # fmt: skip
    write_json(folder / HEADER, header)
