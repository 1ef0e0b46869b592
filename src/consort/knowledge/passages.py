"""Passages: the texts that evidence is made of, in memory or mapped from a folder, never all read at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consort.core.errors import BadData
from consort.knowledge.evidence import Evidence
from consort.knowledge.order import ranks

FILES = ("passages.txt", "passages.ids", "passages.npy")


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with the document it stands in; `span`: its first character there, and the one after its last."""

    id: str
    text: str
    source: str = ""
    span: tuple[int, int] = (0, 0)


class Texts:
    """Strings one behind the other in UTF-8, in memory or mapped; `ends` has where each begins and ends, [n + 1]."""

    def __init__(self, data: Any, ends: np.ndarray) -> None:
        self.data, self.ends = data, ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, i: int) -> str:
        return bytes(self.data[int(self.ends[i]) : int(self.ends[i + 1])]).decode()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        parts = [text.encode() for text in texts]
        return cls(b"".join(parts), np.concatenate([[0], np.cumsum([len(p) for p in parts], dtype=np.int64)]))


class Passages:
    """A sequence of passages; `rank` orders their ids, by which equal scores are told apart.

    `table` has a row for each passage: number of its source, beginning and end there.
    """

    def __init__(self, texts: Texts, ids: Texts, sources: Sequence[str], table: np.ndarray, rank: np.ndarray) -> None:
        self.texts, self.ids, self.sources, self.table, self.rank = texts, ids, sources, table, rank

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> Passage:
        source, start, end = (int(n) for n in self.table[i])
        return Passage(self.ids[i], self.texts[i], self.sources[source] if self.sources else "", (start, end))

    def evidence(self, i: int, score: float, query: str) -> Evidence:
        one = self[i]
        return Evidence(one.id, one.text, score, one.source, one.span, query)

    @classmethod
    def of(cls, passages: Iterable[Passage | str]) -> Passages:
        """Passages in memory; a plain text is named by its place: "1", "2", …

        Raises BadData for an id that occurs twice.
        """
        rows = [p if isinstance(p, Passage) else Passage(str(i + 1), p) for i, p in enumerate(passages)]
        ids = [p.id for p in rows]
        refuse_twins(ids)
        sources: dict[str, int] = {}
        table = [(sources.setdefault(p.source, len(sources)), *p.span) for p in rows]
        kept = np.array(table, np.int64).reshape(len(rows), 3)
        return cls(Texts.of(p.text for p in rows), Texts.of(ids), list(sources), kept, ranks(ids))

    def digest(self) -> str:
        """SHA-256 of all ids and texts, in the order of the ids, so whatever order they were read in."""
        found = hashlib.sha256()
        for i in np.argsort(self.rank):
            for text in (self.ids[i], self.texts[i]):
                data = text.encode()
                found.update(len(data).to_bytes(8, "little") + data)
        return found.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the passages into a folder."""
        (folder / "passages.txt").write_bytes(bytes(self.texts.data))
        (folder / "passages.ids").write_bytes(bytes(self.ids.data))
        columns = [self.texts.ends[1:], self.ids.ends[1:], *self.table.T, self.rank]
        np.save(folder / "passages.npy", np.stack(columns, 1).astype(np.int64))

    @classmethod
    def open(cls, folder: Path, sources: Sequence[str]) -> Passages:
        """The passages of a folder, mapped. Raises BadData where files are missing or do not fit together."""
        table = mapped_array(folder / "passages.npy")
        texts, ids = (mapped_bytes(folder / name) for name in FILES[:2])
        if table.ndim != 2 or table.shape[1] != 6:
            raise damaged(folder / "passages.npy")
        ends = [np.concatenate([[0], np.asarray(table[:, column])]) for column in (0, 1)]
        for data, last, name in zip((texts, ids), ends, FILES, strict=False):
            if len(data) != last[-1] or (np.diff(last) < 0).any():
                raise damaged(folder / name)
        if len(table) and not 0 <= int(table[:, 2].max()) < max(1, len(sources)):
            raise damaged(folder / "passages.npy")
        return cls(Texts(texts, ends[0]), Texts(ids, ends[1]), sources, table[:, 2:5], np.asarray(table[:, 5]))


def refuse_twins(ids: Sequence[str]) -> None:
    """Raise BadData for an id that occurs twice."""
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twin = next(id for id in ids if id in seen or seen.add(id))  # type: ignore[func-returns-value]
        raise BadData(f"two passages are called {twin!r}", field="id", hint="give each an id of its own, or none")


def mapped_array(file: Path) -> np.ndarray:
    """An array of a folder, mapped and not read. Raises BadData."""
    try:
        found: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        return found
    except (OSError, ValueError, EOFError) as fault:
        raise damaged(file) from fault


def mapped_bytes(file: Path) -> np.ndarray:
    """The bytes of a file, mapped. Raises BadData."""
    try:
        return np.memmap(file, np.uint8, "r") if file.stat().st_size else np.zeros(0, np.uint8)
    except (OSError, ValueError) as fault:
        raise damaged(file) from fault


def damaged(file: Path) -> BadData:
    """The error for a file of an index that is missing or not what it was."""
    what = "is damaged" if file.exists() else "is missing from the index"
    return BadData(what, field=str(file), hint="build the index again: consort index SOURCE… OUT --force")
