"""Documents of many kinds as sections of text, read piece by piece, so that a file may be larger than memory.

Text and Markdown as they are, HTML and PDF by what they say, JSON lines with `text` (`contents`, `content`, `body`),
and `id` (`_id`, `docid`, `doc_id`) and `title` where there are any; a folder is all such files in it.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, BinaryIO

from consort.core.errors import BadData, BadParameter
from consort.core.files import machine_errors

SECTION = 1 << 20
"""Letters of a text that are read at once; passages do not cross from one section to the next."""
LINE_BYTES = 1 << 26
WHOLE_BYTES = 1 << 26
"""The most of a file that has to be read whole (HTML), and of a line of JSON."""
TEXT_KEYS, ID_KEYS = ("text", "contents", "content", "body"), ("id", "_id", "docid", "doc_id")


@dataclass(frozen=True, slots=True)
class Section:
    """A piece of a document: `start` is its first character there; `id` what the document calls itself, if anything."""

    text: str
    start: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be read, and the name that its passages tell."""

    name: str
    path: Path


def sources_of(given: list[Path]) -> tuple[list[Source], list[str]]:
    """The files that are named or lie in named folders, by name, and those in folders that are of no known kind.

    Raises BadParameter for what does not exist, and where nothing can be read.
    """
    found: dict[str, Path] = {}
    left: list[str] = []
    for path in given:
        if not path.exists():
            raise BadParameter("does not exist", field=str(path), hint="name a file or a folder of documents")
        if path.is_file():
            found[_free(path.name, found)] = path
            continue
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink()):
            if any(part.startswith(".") for part in file.relative_to(path).parts):
                continue
            name = file.relative_to(path).as_posix()
            if _reader(file) is None:
                left.append(name)
            else:
                found[_free(name, found)] = file
    if not found:
        hint = f"files that end in {', '.join(sorted(READERS))}"
        raise BadParameter("there are no documents", field=", ".join(map(str, given)), hint=hint)
    return [Source(name, found[name]) for name in sorted(found)], left


def _free(name: str, taken: Mapping[str, Path]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}@{number}"
    return candidate


def read(source: Source) -> Iterator[Section]:
    """The sections of a file, in order. Raises BadData for one that is not what its name says, MissingExtra."""
    reader = _reader(source.path) or _plain
    with machine_errors(source.path):
        yield from reader(source.path)


def _reader(path: Path) -> Callable[[Path], Iterator[Section]] | None:
    name = path.name.lower().removesuffix(".gz")
    return READERS.get(Path(name).suffix)


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _plain(path: Path) -> Iterator[Section]:
    """A text in sections that end where a paragraph, else a line, a sentence or a word does."""
    with _opened(path) as file:
        start, rest = 0, ""
        for text in _decoded(file, path):
            rest += text
            while len(rest) > SECTION:
                cut = _place_to_cut(rest)
                yield Section(rest[:cut], start)
                start, rest = start + cut, rest[cut:]
        yield Section(rest, start)


def _place_to_cut(text: str) -> int:
    for mark in ("\n\n", "\n", ". ", "。", " "):
        at = text.rfind(mark, SECTION // 2, SECTION)
        if at >= 0:
            return at + len(mark)
    return SECTION


def _decoded(file: BinaryIO, path: Path) -> Iterator[str]:
    """The text of a file, a piece at a time."""
    import codecs

    decoder, done = codecs.getincrementaldecoder("utf-8-sig")(), 0
    while True:
        data = _read_some(file, path)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as fault:
            what = f"is not UTF-8 text (near byte {done + fault.start})"
            raise BadData(what, field=str(path), hint="convert it, or leave it out") from None
        done += len(data)
        if "\0" in text:
            raise BadData("is not text: it has zero bytes", field=str(path), hint="leave it out")
        yield text
        if not data:
            return


def _read_some(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(SECTION)
    except (gzip.BadGzipFile, EOFError) as fault:
        raise BadData(f"cannot be unpacked: {fault}", field=str(path), hint="pack it again") from None


def _lines(path: Path) -> Iterator[Section]:
    """JSON lines, a document each."""
    with _opened(path) as file:
        for number in range(1, 1 << 62):
            try:
                line = file.readline(LINE_BYTES + 1)
            except (gzip.BadGzipFile, EOFError) as fault:
                raise BadData(f"cannot be unpacked: {fault}", field=str(path), hint="pack it again") from None
            if not line:
                return
            if len(line) > LINE_BYTES:
                raise BadData(
                    f"has more than {LINE_BYTES >> 20} MiB", field=f"{path}:{number}", hint="cut the document"
                )
            if line.strip():
                yield _document(line, f"{path}:{number}")


def _document(line: bytes, where: str) -> Section:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise BadData("is not JSON", field=where, hint='write {"id": "…", "text": "…"}') from None
    text = next((row[key] for key in TEXT_KEYS if key in row), None) if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise BadData("has no text", field=where, hint='write {"id": "…", "text": "…"}')
    own = next((row[key] for key in ID_KEYS if key in row), "")
    if not isinstance(own, str | int) or isinstance(own, bool):
        raise BadData(f"{own!r} is no id", field=where, hint="a string or a whole number")
    title: Any = row.get("title") or ""
    whole = f"{title}\n{text}" if isinstance(title, str) and title else text
    if any(0xD800 <= ord(letter) < 0xE000 for letter in f"{whole}{own}"):
        raise BadData("has half a character (a lone surrogate)", field=where, hint="write whole characters")
    return Section(whole, 0, str(own))


def _html(path: Path) -> Iterator[Section]:
    yield Section(text_of_html(_whole(path)))


def _whole(path: Path) -> str:
    if path.stat().st_size > WHOLE_BYTES:
        raise BadData(f"has more than {WHOLE_BYTES >> 20} MiB", field=str(path), hint="cut it into several files")
    with _opened(path) as file:
        parts, size = [], 0
        for part in _decoded(file, path):
            parts.append(part)
            size += len(part)
            if size > WHOLE_BYTES:
                raise BadData(f"unpacks to more than {WHOLE_BYTES >> 20} MiB", field=str(path), hint="cut it")
    return "".join(parts)


def _pdf(path: Path) -> Iterator[Section]:
    from consort.knowledge.pdf import pages_of

    for number, page in enumerate(pages_of(path), 1):
        yield Section(page, 0, f"{number}")


READERS: dict[str, Callable[[Path], Iterator[Section]]] = {
    ".htm": _html, ".html": _html, ".jsonl": _lines, ".markdown": _plain, ".md": _plain, ".pdf": _pdf, ".rst": _plain,
    ".txt": _plain,
}  # fmt: skip
_BLOCKS = """
address article br dd div dt footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section table td th title tr
ul
"""
BLOCKS = frozenset(_BLOCKS.split())
SILENT = ("script", "style", "template", "noscript")


class _Said(HTMLParser):
    """Collects what a page says."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.silent += tag in SILENT
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in SILENT and self.silent > 0
        if tag in BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.parts.append(data)


def text_of_html(page: str) -> str:
    """What a page says, without marks, scripts and styles.

    >>> text_of_html("<p>One<br>two</p><script>x()</script> &amp; three")
    'One\\ntwo\\n & three'
    """
    said = _Said()
    said.feed(page)
    said.close()
    text = re.sub(r"[ \t\r\f\v]+", " ", "".join(said.parts))
    return re.sub(r"\n\s*\n+", "\n\n", text).strip("\n")
