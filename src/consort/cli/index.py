"""`consort index`: documents to an index that retrievers search; killed and run again it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.options import Debug, Force, Json
from consort.cli.output import note, print_json
from consort.core.counted import counted
from consort.core.errors import BadParameter

KINDS = ("text", "graph", "sql")
STEMS = ("none", "s", "english")


Paths = Annotated[
    list[str], typer.Argument(metavar="SOURCE… OUT", help="Files or folders of documents, then the index's folder.")
]
Encoder = Annotated[
    str, typer.Option("--encoder", help="Vectors too, for dense and hybrid: minilm, or an encoder's folder.")
]
Length = Annotated[
    int, typer.Option("--words", min=0, max=100000, help="Words of a passage; 0: a document is one passage.")
]
Overlap = Annotated[int, typer.Option("--overlap", min=0, max=100, help="Sentences that neighbours share.")]
Stem = Annotated[str, typer.Option("--stem", help="none | s: plurals as singulars | english: all English endings cut.")]
Stop = Annotated[bool, typer.Option("--stop", help="Leave out English words that tell nothing.")]
Lists = Annotated[
    int, typer.Option("--lists", min=0, max=1000000, help="Vectors in this many lists too, for ivf (needs faiss).")
]
Kind = Annotated[
    str, typer.Option("--kind", help="text: passages | graph: triples, apart by tabs | sql: dumps and CSV as SQLite.")
]


def index(
    paths: Paths,
    encoder: Encoder = "",
    words: Length = 200,
    overlap: Overlap = 1,
    stem: Stem = "none",
    stop: Stop = False,
    lists: Lists = 0,
    kind: Kind = "text",
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Build an index of text, Markdown, HTML, PDF and JSON lines (`id`, `text`); what is there already is kept."""
    _check(paths, stem, kind)
    if kind == "graph":
        from consort.knowledge.graph import build_graph

        _told(build_graph(paths[:-1], Path(paths[-1]), force=force), kind, json)
        return
    if kind == "sql":
        _load(paths, force, json)
        return
    from consort.knowledge.build import Settings, build
    from consort.knowledge.words import Words

    embed = described = None
    if encoder:
        from consort.cooperate.retrieve.encoding import described as described_of
        from consort.models.hf.sentence_encoder import SentenceEncoder

        embed, described = SentenceEncoder(encoder).embed, described_of(encoder)
    settings = Settings(Words(stop, stem), words, overlap, described, lists)
    folder = build(paths[:-1], Path(paths[-1]), settings=settings, embed=embed, force=force)
    _told(folder, kind, json)


def _check(paths: list[str], stem: str, kind: str) -> None:
    if stem not in STEMS:
        raise BadParameter(f"{stem!r} is not known", field="--stem", hint=" | ".join(STEMS))
    if kind not in KINDS:
        raise BadParameter(f"{kind!r} is not known", field="--kind", hint=" | ".join(KINDS))
    if len(paths) < 2:
        raise BadParameter("one path is not enough", field="OUT", hint="consort index SOURCE… OUT")
    if not all(paths):
        raise BadParameter("is empty", field="SOURCE… OUT", hint="name files or folders; `.` is the current one")


def _told(folder: Path, kind: str, json: bool) -> None:
    from consort.knowledge.text_index import read_header

    header = read_header(folder, kind)
    if json:
        kept = ("kind", "passages", "triples", "words", "documents")
        print_json({"index": str(folder), **{key: header[key] for key in kept if key in header}})
        return
    what = counted(header["passages"], "passage") if kind == "text" else counted(header["triples"], "triple")
    note(f"{what} of {counted(len(header['sources']), 'document')}")
    print(folder)


def _load(paths: list[str], force: bool, json: bool) -> None:
    """Dumps and tables as a database."""
    from consort.knowledge.sql_loading import build_tables
    from consort.knowledge.tables import Tables

    file = build_tables(paths[:-1], Path(paths[-1]), force=force)
    tables = [table.name for table in Tables(file).tables]
    if json:
        print_json({"database": str(file), "kind": "sql", "tables": tables})
        return
    note(counted(len(tables), "table"))
    print(file)
