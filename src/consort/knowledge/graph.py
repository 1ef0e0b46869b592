"""A graph of triples (subject, predicate, object) in a file of SQLite, which is only read once it is there."""

from __future__ import annotations

import os
import re
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from consort.core.errors import BadData, BadParameter
from consort.core.files import machine_errors
from consort.knowledge.order import id_key
from consort.knowledge.words import UNSPACED

FILE = "graph.sqlite"
SCHEMA = """
CREATE TABLE triple (s TEXT NOT NULL, p TEXT NOT NULL, o TEXT NOT NULL, source TEXT NOT NULL, PRIMARY KEY (s, p, o))
WITHOUT ROWID;
CREATE TABLE alias (alias TEXT NOT NULL, entity TEXT NOT NULL, PRIMARY KEY (alias, entity)) WITHOUT ROWID;
CREATE TABLE gram (gram TEXT NOT NULL, entity TEXT NOT NULL, PRIMARY KEY (gram, entity)) WITHOUT ROWID;
"""
INDICES = "CREATE INDEX po ON triple (p, o); CREATE INDEX os ON triple (o, s);"
MOST_WORDS = 12
"""Words of a name that is looked for in a text."""
ALIKE = 0.6
"""Share of letters in threes that two names must have in common to be taken for one (Jaccard)."""


@dataclass(frozen=True, slots=True, order=True)
class Triple:
    """A fact and where it was read; facts are equal whatever their sources."""

    subject: str
    predicate: str
    object: str
    source: str = ""

    @property
    def id(self) -> str:
        return f"{self.subject} | {self.predicate} | {self.object}"

    @property
    def text(self) -> str:
        """The fact as a line of words.

        >>> Triple("john_doe", "place_of_birth", "new_york").text
        'john doe place of birth new york'
        """
        return " ".join(part.replace("_", " ") for part in (self.subject, self.predicate, self.object))


@dataclass(frozen=True, slots=True)
class Step:
    """A way through the graph: the entity reached, and the triples that lead there from the first."""

    entity: str
    triples: tuple[Triple, ...] = ()

    @property
    def relations(self) -> tuple[str, ...]:
        return tuple(triple.predicate for triple in self.triples)


class Graph:
    """Triples in a file, opened when they are first asked for; `folder` is the folder of an index of the kind graph."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder: Path | None = Path(folder)
        self._held: sqlite3.Connection | None = None

    @classmethod
    def of(cls, triples: Iterable[Triple | tuple[str, str, str]]) -> Graph:
        """A graph in memory. Raises BadData for a triple with an empty part.

        >>> graph = Graph.of([("ann", "mother", "eve"), ("eve", "born_in", "rome")])
        >>> [step.entity for step in graph.walk("ann", ["mother", "born_in"])]
        ['rome']
        """
        made = cls("memory")
        made.folder = None
        made._held = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        fill(made._held, (t if isinstance(t, Triple) else Triple(*t) for t in triples))
        return made

    @cached_property
    def _connection(self) -> sqlite3.Connection:
        if self._held is not None:
            return self._held
        file = Path(self.folder or "") / FILE
        try:
            found = sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro&immutable=1", uri=True)
            found.execute("SELECT s, p, o, source FROM triple LIMIT 1")
            return found
        except sqlite3.Error as fault:
            hint = "build it again: consort index SOURCE… OUT --kind graph"
            raise BadData(f"cannot be read: {fault}", field=str(file), hint=hint) from None

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM triple").fetchone()[0])

    def _triples(self, where: str, *values: str) -> list[Triple]:
        sql = f"SELECT s, p, o, source FROM triple WHERE {where} ORDER BY s, p, o"
        return [Triple(*row) for row in self._connection.execute(sql, values)]

    def of_subject(self, entity: str) -> list[Triple]:
        """The facts that begin with an entity."""
        return self._triples("s = ?", entity)

    def about(self, entity: str) -> list[Triple]:
        """The facts that begin or end with an entity."""
        return sorted({*self._triples("s = ?", entity), *self._triples("o = ?", entity)})

    @cached_property
    def relations(self) -> Mapping[str, int]:
        """How many facts each predicate has, by name."""
        return dict(self._connection.execute("SELECT p, count(*) FROM triple GROUP BY p ORDER BY p").fetchall())

    def hops(self, entity: str, hops: int = 2, limit: int = 200) -> list[tuple[Triple, int]]:
        """The facts within `hops` steps of an entity, nearest first, at most `limit`, each with its distance from 1."""
        found: dict[Triple, int] = {}
        seen, queue = {entity}, deque([(entity, 0)])
        while queue and len(found) < limit:
            here, distance = queue.popleft()
            if distance == hops:
                continue
            for triple in self.about(here):
                if len(found) < limit:
                    found.setdefault(triple, distance + 1)
                for other in (triple.subject, triple.object):
                    if other not in seen:
                        seen.add(other)
                        queue.append((other, distance + 1))
        return list(found.items())

    def walk(self, entity: str, relations: Sequence[str]) -> list[Step]:
        """All ways from an entity along given predicates, in order."""
        steps = [Step(entity)]
        for relation in relations:
            steps = [
                Step(triple.object, (*step.triples, triple))
                for step in steps
                for triple in self._triples("s = ? AND p = ?", step.entity, relation)
            ]
        return steps

    def link(self, text: str) -> list[str]:
        """The entities that a text names, in its order: the longest names that stand in it, else the most alike.

        >>> Graph.of([("john_doe", "likes", "jane")]).link("Whom does John Doe's dog like?")
        ['john_doe']
        """
        words = _words(text)
        found, at = [], 0
        while at < len(words):
            size, entities = self._longest(words, at)
            found += entities
            at += size or 1
        return list(dict.fromkeys(found)) or self._alike(words)

    def _longest(self, words: Sequence[str], at: int) -> tuple[int, list[str]]:
        """How many words from `at` on are the name of something, and of what; 0 where none are."""
        for size in range(min(MOST_WORDS, len(words) - at), 0, -1):
            name = " ".join(words[at : at + size])
            rows = self._connection.execute(
                "SELECT entity FROM alias WHERE alias = ? ORDER BY entity", (name,)
            ).fetchall()
            if rows:
                return size, [row[0] for row in rows]
        return 0, []

    def _alike(self, words: Sequence[str]) -> list[str]:
        """The entity whose name shares most threes of letters with some words of the text, if it shares enough."""
        best: tuple[float, str] = (0.0, "")
        for size in range(min(MOST_WORDS, len(words)), 0, -1):
            for at in range(len(words) - size + 1):
                grams = _grams(" ".join(words[at : at + size]))
                for entity, common in self._sharing(grams):
                    share = common / max(1, len(grams | _grams(alias_of(entity))))
                    if share >= ALIKE and (share > best[0] or (share == best[0] and id_key(entity) < id_key(best[1]))):
                        best = share, entity
        return [best[1]] if best[1] else []

    def _sharing(self, grams: frozenset[str]) -> list[tuple[str, int]]:
        if len(grams) < 2:
            return []
        places = ", ".join("?" * len(grams))
        sql = f"SELECT entity, count(*) AS n FROM gram WHERE gram IN ({places}) GROUP BY entity HAVING n >= ?"
        wanted = max(2, int(ALIKE * len(grams)))
        return self._connection.execute(f"{sql} ORDER BY n DESC, entity LIMIT 50", (*sorted(grams), wanted)).fetchall()


def alias_of(entity: str) -> str:
    """The name of an entity as a text has it: words in lower case."""
    return " ".join(_words(entity))


def _words(text: str) -> list[str]:
    """Words of a text in lower case, letters where no spaces are written; behind an apostrophe a word begins."""
    return re.findall(rf"(?=\w)[{UNSPACED}]|[^\W_{UNSPACED}]+", text.lower())


def _grams(name: str) -> frozenset[str]:
    padded = f"  {name} "
    return frozenset(padded[i : i + 3] for i in range(len(padded) - 2)) if name else frozenset()


def fill(connection: sqlite3.Connection, triples: Iterable[Triple]) -> int:
    """Make the tables of a graph and enter triples; how many there are. Raises BadData for an empty part."""
    connection.executescript(SCHEMA)
    connection.execute("BEGIN")
    for triple in triples:
        if not (triple.subject and triple.predicate and triple.object):
            raise BadData(
                "a fact has an empty part", field=triple.source or "triples", hint="subject, predicate, object"
            )
        row = triple.subject, triple.predicate, triple.object, triple.source
        connection.execute("INSERT OR IGNORE INTO triple VALUES (?, ?, ?, ?)", row)
    for (entity,) in connection.execute("SELECT s FROM triple UNION SELECT o FROM triple").fetchall():
        alias = alias_of(entity)
        if alias:
            connection.execute("INSERT OR IGNORE INTO alias VALUES (?, ?)", (alias, entity))
            connection.executemany(
                "INSERT OR IGNORE INTO gram VALUES (?, ?)", [(gram, entity) for gram in sorted(_grams(alias))]
            )
    connection.execute("COMMIT")
    connection.executescript(INDICES)
    return int(connection.execute("SELECT count(*) FROM triple").fetchone()[0])


def triples_in(path: Path, name: str = "") -> Iterator[Triple]:
    """The triples of a file: three columns apart by tabs, or JSON lines with `s`, `p`, `o`. Raises BadData."""
    import json

    with machine_errors(path), open(path, encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                if path.suffix == ".jsonl":
                    row = json.loads(line)
                    parts = [row[key] for key in ("s", "p", "o")]
                else:
                    parts = [part for part in line.rstrip("\r\n").split("\t") if part]
                if len(parts) != 3 or not all(isinstance(part, str) and part.strip() for part in parts):
                    raise BadData("is no triple", field=where, hint="subject, predicate and object apart by tabs")
                subject, predicate, object_ = (part.strip() for part in parts)
                yield Triple(subject, predicate, object_, name or path.name)
        except UnicodeDecodeError:
            raise BadData("is not UTF-8 text", field=str(path), hint="convert it, or leave it out") from None
        except (ValueError, KeyError, TypeError):
            raise BadData("is no triple", field=where, hint='write {"s": "…", "p": "…", "o": "…"}') from None


def build_graph(sources: Sequence[Path | str], out: Path | str, *, force: bool = False) -> Path:
    """Write the graph of files of triples into the folder `out`. Raises BadParameter, BadData, OutputExists."""
    import shutil
    import tempfile

    from consort.core.errors import OutputExists
    from consort.core.files import check_place, sha256_of, write_json
    from consort.core.journal import key_of
    from consort.knowledge.text_index import FORMAT, HEADER

    folder, files = Path(out), [Path(source) for source in sources]
    check_place(folder)
    for file in files:
        if not file.is_file():
            raise BadParameter("is no file of triples", field=str(file), hint="a file of three columns apart by tabs")
    key = key_of([FORMAT, "graph", [(file.name, sha256_of(file)) for file in files]])
    if folder.exists() and any(folder.iterdir()) and not force:
        if (folder / HEADER).is_file() and f'"key": "{key}"' in (folder / HEADER).read_text("utf-8"):
            return folder
        raise OutputExists("is not empty", field=str(folder), hint="choose another folder or pass --force")
    with machine_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with closing(sqlite3.connect(made / FILE, isolation_level=None)) as connection:
            count = fill(connection, (triple for file in files for triple in triples_in(file)))
        if not count:
            raise BadData("there are no triples", field=", ".join(map(str, files)), hint="three columns apart by tabs")
        told = {FILE: {"bytes": (made / FILE).stat().st_size, "sha256": sha256_of(made / FILE)}}
        header = {"kind": "graph", "format": FORMAT, "key": key, "triples": count, "files": told}
        write_json(made / HEADER, {**header, "sources": [file.name for file in files]})
        with machine_errors(folder):
            os.chmod(made, 0o755)
            shutil.rmtree(folder, ignore_errors=True)
            made.replace(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return folder


GraphIndex = Graph | str | os.PathLike[str]
"""A graph, or the folder that `consort index --kind graph` wrote it to."""


def opened_graph(graph: GraphIndex) -> Graph:
    """The graph that an argument names; its file is compared with the header. Raises BadParameter, BadData."""
    from consort.knowledge.text_index import check_files, read_header

    if isinstance(graph, Graph):
        return graph
    check_files(Path(graph), read_header(Path(graph), "graph"))
    return Graph(graph)
