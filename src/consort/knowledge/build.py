"""Building an index from documents: block after block, each on the disk before it is in the journal.

Killed and run again, it goes on behind the last block; the finished folder is the same, byte for byte, as if nothing
had happened. No more than a block of passages, the words that there are, and their numbers are held in memory.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from consort.core.counted import counted as told
from consort.core.errors import BadData, BadParameter, ConsortError, OutputExists
from consort.core.files import check_place, machine_errors, sha256_of, whole_file
from consort.core.journal import Journal, key_of
from consort.core.progress import track
from consort.knowledge.inverted import Lists, faiss_module
from consort.knowledge.order import ranks
from consort.knowledge.passages import Passage, Passages, Texts, mapped_array, refuse_twins
from consort.knowledge.postings import Counted, Postings, Vocabulary, counted, fill
from consort.knowledge.reading import Source, read, sources_of
from consort.knowledge.sentences import packed
from consort.knowledge.text_index import FORMAT, HEADER, LISTS, VECTORS, Embed, check_files, finish, read_header
from consort.knowledge.words import Words

_LOG = logging.getLogger(__name__)
PARTS = "parts"
BLOCK = 4096
"""Passages of a block."""
ENCODED = 256
"""Passages that are encoded between two entries in the journal."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How documents become passages: at most `length` words each (0: a document is one), `overlap` sentences shared.

    `lists` of vectors are written for `ivf` (0: none), which needs an encoder.
    """

    words: Words = Words()
    length: int = 200
    overlap: int = 1
    encoder: Mapping[str, Any] | None = None
    lists: int = 0


def build(
    sources: Sequence[Path | str],
    out: Path | str,
    *,
    settings: Settings = Settings(),
    embed: Embed | None = None,
    force: bool = False,
) -> Path:
    """Write the index of documents into the folder `out`, which is returned; one that is already there stays.

    `embed` makes the vectors that `settings.encoder` describes. Raises BadParameter, BadData, OutputExists,
    MissingExtra; nothing is left then, unless an earlier start has done work there.
    """
    folder = Path(out)
    check_place(folder)
    if settings.lists:
        _check_lists(embed)
    found, left = sources_of([Path(source) for source in sources])
    if left:
        _LOG.warning("%s of no known kind left out: %s", told(len(left), "file"), ", ".join(left[:5]))
    key = _key(found, settings)
    if _is_built(folder, key, force):
        _clean(folder)
        return folder
    return _Building(folder, key, found, settings, embed, force).run()


def _check_lists(embed: Embed | None) -> None:
    faiss_module()
    if embed is None:
        raise BadParameter("there are no vectors to be put into lists", field="lists", hint="--encoder minilm")


def _key(sources: Sequence[Source], settings: Settings) -> str:
    """What an index depends on: names and contents of the documents, and how they are read."""
    held = [(one.name, sha256_of(one.path)) for one in sources]
    encoder = settings.encoder and settings.encoder["digest"]
    lists = [settings.lists] if settings.lists else []
    return key_of([FORMAT, held, settings.words.described(), settings.length, settings.overlap, encoder, *lists])


def _is_built(folder: Path, key: str, force: bool) -> bool:
    """Whether the folder holds this very index. Raises OutputExists for another one, which `force` allows."""
    if not (folder / HEADER).exists():
        return False
    try:
        header = read_header(folder)
        check_files(folder, header)
        same = header.get("key") == key
    except ConsortError:
        if not force:
            raise
        same = False
    if not same and not force:
        hint = "choose another folder or pass --force"
        raise OutputExists("holds another index, or one of documents that have changed", field=str(folder), hint=hint)
    return same


def _clean(folder: Path) -> None:
    """Remove what only building needs."""
    with machine_errors(folder):
        shutil.rmtree(folder / PARTS, ignore_errors=True)
        (folder / "journal.jsonl").unlink(missing_ok=True)


class _Building:
    """One start of building, which may be the first or go on behind another."""

    def __init__(
        self, folder: Path, key: str, sources: Sequence[Source], settings: Settings, embed: Embed | None, force: bool
    ) -> None:
        self.folder, self.key, self.sources, self.settings, self.embed = folder, key, sources, settings, embed
        self.parts = folder / PARTS
        self.journal = Journal(folder, key, force=force, sound=self._is_sound, ordered=True)

    def run(self) -> Path:
        done = self.journal.open()
        if self.journal.is_new:
            shutil.rmtree(self.parts, ignore_errors=True)
        (self.folder / HEADER).unlink(missing_ok=True)
        with machine_errors(self.parts):
            self.parts.mkdir(exist_ok=True)
        try:
            self._blocks([record for record in done if "block" in record])
            passages = self._merged()
            if self.embed is not None:
                self._vectors(passages, sum(record.get("vectors", 0) for record in done))
        except ConsortError as fault:
            if self.journal.is_new and fault.exit_code == 2:
                self._undo()
            raise
        self._finish(passages)
        return self.folder

    def _finish(self, passages: Passages) -> None:
        with machine_errors(self.folder):
            (self.folder / LISTS).unlink(missing_ok=True)
            if self.settings.lists:
                Lists.of(mapped_array(self.parts / VECTORS), self.settings.lists).save(self.folder / LISTS)
            if self.embed is not None:
                (self.parts / VECTORS).replace(self.folder / VECTORS)
            encoder, has_lists = self.settings.encoder or {}, bool(self.settings.lists)
            finish(self.folder, passages, self.settings.words, encoder, self.key, has_lists)
        _clean(self.folder)

    def _undo(self) -> None:
        """Leave nothing of a first start that was refused."""
        from consort.knowledge.passages import FILES as passages
        from consort.knowledge.postings import FILES as postings

        shutil.rmtree(self.parts, ignore_errors=True)
        for name in (*passages, *postings):
            (self.folder / name).unlink(missing_ok=True)
        self.journal.discard()

    def _is_sound(self, record: Mapping[str, Any]) -> bool:
        """Whether what a record tells is still there."""
        if "vectors" in record:
            return (self.parts / VECTORS).is_file()
        file = self._part(int(record["block"]))
        return file.is_file() and sha256_of(file) == record["sha256"]

    def _part(self, number: int) -> Path:
        return self.parts / f"{number:06d}.npz"

    def _blocks(self, done: Sequence[Mapping[str, Any]]) -> None:
        """Read the documents, block by block, from where the last one ended."""
        at, before = tuple(done[-1]["next"]) if done else (0, 0), sum(record["passages"] for record in done)
        number, rows = len(done), self._passages(*at)
        with track("indexing", sum(one.path.stat().st_size for one in self.sources), unit="B") as advance:
            while block := list(islice(rows, BLOCK)):
                file = self._part(number)
                with whole_file(file) as to:
                    _write_block(to, [passage for passage, _ in block], self.settings.words)
                entry = {"block": number, "passages": len(block), "next": list(block[-1][1]), "sha256": sha256_of(file)}
                self.journal.append(entry)
                number, before = number + 1, before + len(block)
                advance(sum(len(passage.text) for passage, _ in block))
        if not before:
            hint = "give documents that have text in them"
            raise BadData("there is no text", field=", ".join(s.name for s in self.sources[:3]), hint=hint)

    def _passages(self, first: int, done: int) -> Iterator[tuple[Passage, tuple[int, int]]]:
        """All passages but the `done` first of source number `first` and those of sources before it.

        With each the place behind it: a source, and how many of its passages come before.
        """
        for number in range(first, len(self.sources)):
            rows = _passages_of(self.sources[number], self.settings)
            skip = done if number == first else 0
            for i, passage in enumerate(rows):
                if i >= skip:
                    yield passage, (number, i + 1)

    def _merged(self) -> Passages:
        """The files of the index, but its header and vectors."""
        parts = [self._part(n) for n in range(len(list(self.parts.glob("[0-9]*.npz"))))]
        with machine_errors(self.folder):
            ids = _merge_passages(parts, self.folder, [one.name for one in self.sources])
            refuse_twins(ids)
            _merge_postings(parts, self.folder)
        return Passages.open(self.folder, [one.name for one in self.sources])

    def _vectors(self, passages: Passages, done: int) -> None:
        """Encode passages, some at a time, from where the last start ended."""
        assert self.embed is not None
        file = self.parts / VECTORS
        held = np.lib.format.open_memmap(file, "r+") if done else None
        with track("encoding", len(passages)) as advance:
            advance(done)
            for start in range(done, len(passages), ENCODED):
                texts = [passages.texts[i] for i in range(start, min(start + ENCODED, len(passages)))]
                rows = self.embed(texts)
                if held is None:
                    shape = (len(passages), rows.shape[1])
                    held = np.lib.format.open_memmap(file, "w+", np.float32, shape)
                held[start : start + len(rows)] = rows
                held.flush()
                self.journal.append({"vectors": len(rows)})
                advance(len(rows))


def _passages_of(source: Source, settings: Settings) -> Iterator[Passage]:
    """The passages of a file; one that calls itself something is called so, several of one document by number."""
    number = 0
    for section in read(source):
        spans = packed(section.text, settings.length, settings.overlap)
        for i, (start, end) in enumerate(spans, 1):
            number += 1
            if section.id and source.path.suffix.lower() != ".pdf":
                name = section.id if len(spans) == 1 else f"{section.id}#{i}"
            else:
                name = f"{source.name}#{number}"
            text = section.text[start:end]
            yield Passage(name, text, source.name, (section.start + start, section.start + end))


def _write_block(to: BinaryIO, block: Sequence[Passage], words: Words) -> None:
    vocabulary = Vocabulary()
    found = counted((words.of(passage.text) for passage in block), vocabulary)
    texts, ids, names = Texts.of(p.text for p in block), Texts.of(p.id for p in block), Texts.of(vocabulary)
    arrays = {"lengths": found.lengths, "words": found.words, "places": found.places, "counts": found.counts}
    for name, held in {"texts": texts, "ids": ids, "names": names}.items():
        arrays |= {name: np.frombuffer(held.data, np.uint8), f"{name}.ends": held.ends}
    arrays["spans"] = np.array([p.span for p in block], np.int64)
    sources: dict[str, int] = {}
    arrays["source"] = np.array([sources.setdefault(p.source, len(sources)) for p in block], np.int64)
    own = Texts.of(sources)
    arrays |= {"sources": np.frombuffer(own.data, np.uint8), "sources.ends": own.ends}
    np.savez(to, **arrays)  # type: ignore[arg-type]


def _texts(arrays: Mapping[str, np.ndarray], name: str) -> Texts:
    return Texts(arrays[name].tobytes(), arrays[f"{name}.ends"])


def _merge_passages(parts: Sequence[Path], folder: Path, sources: Sequence[str]) -> list[str]:
    """Write texts, ids and places of all passages; the ids."""
    numbers = {name: number for number, name in enumerate(sources)}
    ids: list[str] = []
    rows: list[np.ndarray] = []
    ends = np.zeros(2, np.int64)
    with whole_file(folder / "passages.txt") as texts, whole_file(folder / "passages.ids") as names:
        for part in parts:
            with np.load(part, allow_pickle=False) as held:
                arrays = dict(held.items())
            texts.write(arrays["texts"].tobytes())
            names.write(arrays["ids"].tobytes())
            own = _texts(arrays, "ids")
            ids += [own[i] for i in range(len(own))]
            called = _texts(arrays, "sources")
            source = np.array([numbers[called[i]] for i in range(len(called))], np.int64)[arrays["source"]]
            text_ends, id_ends = arrays["texts.ends"][1:] + ends[0], arrays["ids.ends"][1:] + ends[1]
            ends = np.array([text_ends[-1], id_ends[-1]])
            rows.append(np.stack([text_ends, id_ends, source, *arrays["spans"].T], 1))
    table = np.concatenate([np.concatenate(rows), ranks(ids)[:, None]], 1)
    with whole_file(folder / "passages.npy") as file:
        np.save(file, table)
    return ids


def _merge_postings(parts: Sequence[Path], folder: Path) -> None:
    """Write the postings of all blocks, in one pass to count and one to fill in."""
    often: dict[bytes, int] = {}
    lengths: list[np.ndarray] = []
    for part in parts:
        names, found = _counted_of(part)
        for name, n in zip(names, np.bincount(found.words, minlength=len(names)).tolist(), strict=True):
            often[name] = often.get(name, 0) + n
        lengths.append(found.lengths)
    names = sorted(often)
    place = {name: i for i, name in enumerate(names)}
    ends = np.concatenate([[0], np.cumsum([often[name] for name in names], dtype=np.int64)])
    places, counts = (_filled_in_place(folder / name, int(ends[-1])) for name in ("postings.npy", "counts.npy"))
    cursor, before = ends[:-1].copy(), 0
    for part in parts:
        own, found = _counted_of(part)
        fill([found], np.array([place[name] for name in own], np.int64), cursor, places, counts, before)
        before += len(found.lengths)
    for array in (places, counts):
        array.flush()
    words = Texts.of(name.decode() for name in names)
    Postings(words, ends, places, counts, np.concatenate(lengths)).save_words(folder)


def _filled_in_place(file: Path, size: int) -> Any:
    """An array of a new file, mapped. Raises BadData where it would be empty: no document has a word."""
    if not size:
        raise BadData("there is no word in the documents", field=str(file.parent), hint="give documents with text")
    return np.lib.format.open_memmap(file, "w+", np.int32, (size,))


def _counted_of(part: Path) -> tuple[list[bytes], Counted]:
    with np.load(part, allow_pickle=False) as held:
        data, ends = held["names"].tobytes(), held["names.ends"]
        names = [data[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
        return names, Counted(held["words"], held["places"], held["counts"], held["lengths"])
