"""Databases are read and never written: the listed attacks, thousands of made-up statements, and the clock."""

from __future__ import annotations

import hashlib
import random
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from consort.core.errors import BadData, BadParameter, ConsortError, MissingExtra
from consort.knowledge import sql_guard, sql_reader
from consort.knowledge import tables as tables_module
from consort.knowledge.sql_reader import connected
from consort.knowledge.sql_rows import Rows, canonical, overlap, same
from consort.knowledge.tables import Tables

REFUSED = [
    "SELECT 1; DROP TABLE t",
    "PRAGMA writable_schema=1",
    "ATTACH '{place}' AS other",
    "ATTACH DATABASE '{place}' AS other",
    "DETACH DATABASE main",
    "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
    "WITH x AS (SELECT 1) DELETE FROM t",
    "WITH x AS (SELECT 1) INSERT INTO t SELECT 1, 2 FROM x",
    "INSERT INTO t SELECT 9999, 'x'",
    "REPLACE INTO t VALUES (1, 'x')",
    "UPDATE t SET b = 'x'",
    "DELETE FROM t",
    "SELECT load_extension('evil.so')",
    "SELECT 1 --\n; DELETE FROM t",
    "SELECT 1 /* ; */ ; DELETE FROM t",
    "SELECT '--'; DELETE FROM t",
    "VACUUM INTO '{place}'",
    "VACUUM",
    "REINDEX",
    "ANALYZE",
    "BEGIN",
    "SAVEPOINT s",
    "CREATE TABLE u AS SELECT 1",
    "CREATE TEMP TABLE u AS SELECT 1",
    "CREATE VIRTUAL TABLE f USING fts5(x)",
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END",
    "ALTER TABLE t RENAME TO u",
    "EXPLAIN SELECT 1",
    "VALUES (1)",
    "SELECT * FROM pragma_table_info('t')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('{place}', 'x')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT randomblob(1000000000)",
    "SELECT hex(zeroblob(1000000000))",
    "SELECT * FROM fsdir('/')",
    "COPY t TO '{place}'",
    "SELECT * FROM read_csv('/etc/passwd')",
    ".shell touch {place}",
    "SELECT 1\0; DROP TABLE t",
    "",
    ";;",
    "no SQL at all",
]
ACCEPTED = {
    "SELECT a FROM t WHERE a < 2 UNION SELECT 1000000 ORDER BY a": [(0,), (1,), (1000000,)],
    "SELECT count(*) FROM (SELECT * FROM t WHERE a IN (SELECT a FROM t LIMIT 3))": [(3,)],
    "SELECT a, row_number() OVER (ORDER BY a DESC) FROM t WHERE a < 2 ORDER BY 1": [(0, 2), (1, 1)],
    "WITH x AS (SELECT a FROM t) SELECT max(a) FROM x;": [(999,)],
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n": [(15,)],
    "SELECT b || ';' FROM t LIMIT 1 ; -- and no more; DROP TABLE t": [("x0;",)],
    "SELECT 'a -- b' AS c, 'DROP TABLE t; it''s' /* ; */": [("a -- b", "DROP TABLE t; it's")],
    "SELECT strftime('%Y', '2020-01-02'), CASE WHEN 1 THEN round(2.56, 1) END": [("2020", 2.6)],
    "SELECT a FROM t EXCEPT SELECT a FROM t WHERE a > 0": [(0,)],
}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(params=["as it is", "write-ahead log"])
def database(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    file = tmp_path / "t.sqlite"
    connection = sqlite3.connect(file)
    if request.param == "write-ahead log":
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    connection.execute("CREATE TABLE child (id INTEGER, of INTEGER REFERENCES t(a))")
    connection.executemany("INSERT INTO t VALUES (?, ?)", [(i, f"x{i}") for i in range(1000)])
    connection.commit()
    connection.close()
    return file


@pytest.fixture(params=["parsed", "not parsed"])
def parsing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With sqlglot, and as it is without: the layers behind hold alone."""
    if request.param == "not parsed":
        monkeypatch.setattr(sql_guard, "find_spec", lambda name: None)
    else:
        pytest.importorskip("sqlglot")
    return request.param


def test_attacks_are_refused(database: Path, parsing: str, tmp_path: Path) -> None:
    before, place, files = digest(database), tmp_path / "made", sorted(tmp_path.iterdir())
    tables = Tables(database)
    for sql in REFUSED:
        if parsing == "not parsed" and sql.startswith(("VALUES", "EXPLAIN")):
            continue  # they only read, and nothing but the parser minds
        with pytest.raises(BadData) as caught:
            tables.run(sql.format(place=place))
        assert caught.value.hint, sql
    assert digest(database) == before
    assert sorted(tmp_path.iterdir()) == files


def test_what_only_reads_is_run(database: Path, parsing: str) -> None:
    tables = Tables(database)
    for sql, rows in ACCEPTED.items():
        assert list(tables.run(sql).rows) == rows, sql


def test_results_are_bounded(database: Path) -> None:
    tables = Tables(database, rows=10, letters=100)
    assert len(tables.run("SELECT a FROM t").rows) == 10
    assert tables.run("SELECT a FROM t").cut
    assert tables.run("SELECT a FROM t LIMIT 500").cut
    assert not tables.run("SELECT a FROM t LIMIT 10").cut
    wide = tables.run("SELECT group_concat(b, '-') FROM t GROUP BY a % 2")
    assert (len(wide.rows), wide.cut, len(wide.rows[0][0])) == (1, True, 100)
    assert wide.text().endswith("…")


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        "SELECT count(*) FROM t a, t b, t c, t d",
    ],
)
def test_the_clock_stops_what_takes_too_long(database: Path, sql: str) -> None:
    started = time.process_time()
    with pytest.raises(BadData, match=r"longer than 0.2 s"):
        Tables(database, timeout_s=0.2).run(sql)
    assert time.process_time() - started < 2


LONG = "replace(printf('%4000000d', 1), ' ', 'a')"


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT length(ltrim({LONG}, substr({LONG}, 3) || 'b'))",
        f"SELECT instr({LONG}, substr({LONG}, 1, 2000000) || 'b')",
        f"WITH RECURSIVE n(i, s) AS (SELECT 1, {LONG} UNION SELECT i + 1, s || '' FROM n) SELECT count(*) FROM n",
    ],
)
def test_the_clock_stops_one_call_that_takes_too_long(database: Path, sql: str) -> None:
    started = time.monotonic()
    with pytest.raises(BadData, match=r"longer than 0.2 s"):
        Tables(database, timeout_s=0.2).run(sql)
    assert time.monotonic() - started < 6


def test_views_of_a_database_are_run_like_any_statement(tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    connection = sqlite3.connect(file)
    connection.executescript(
        "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1); CREATE VIEW good AS SELECT a FROM t;"
        "CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n;"
        "CREATE VIEW gone AS SELECT x FROM nowhere; CREATE VIEW reaching AS SELECT load_extension('x');"
    )
    connection.close()
    found = {table.name: table.rows for table in Tables(file, timeout_s=0.2).tables}
    assert found == {"t": ((1,),), "good": ((1,),), "endless": (), "gone": (), "reaching": ()}


def test_json_and_full_text(tmp_path: Path, parsing: str) -> None:
    file = tmp_path / "j.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE t (a TEXT)")
    connection.execute("INSERT INTO t VALUES ('[1, 2]')")
    full_text = "ENABLE_FTS5" in {row[0] for row in connection.execute("PRAGMA compile_options")}
    if full_text:
        connection.execute("CREATE VIRTUAL TABLE f USING fts5(x)")
        connection.execute("INSERT INTO f VALUES ('a red fox'), ('a hen')")
    connection.commit()
    connection.close()
    before, tables = digest(file), Tables(file)
    assert tables.run("SELECT value FROM t, json_each(t.a)").rows == ((1,), (2,))
    assert tables.run("SELECT json_group_array(value) FROM t, json_each(t.a)").rows == (("[1,2]",),)
    if full_text:
        assert tables.run("SELECT highlight(f, 0, '<', '>') FROM f WHERE f MATCH 'fox'").rows == (("a red <fox>",),)
        for sql in ("INSERT INTO f(f) VALUES ('optimize')", "UPDATE sqlite_master SET sql = ''"):
            with pytest.raises(BadData):
                tables.run(sql)
    assert digest(file) == before


def test_values_are_the_databases_own(tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    sqlite3.connect(file).executescript("CREATE TABLE t (a)").close()
    row = Tables(file).run("SELECT NULL, 1, 9223372036854775807, 0.1, 1e999, 'é\n\"', x'00ff', ''").rows[0]
    assert row == (None, 1, 9223372036854775807, 0.1, float("inf"), 'é\n"', b"\0\xff", "")


def test_the_process_that_reads_sees_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    seen: list[dict[str, str]] = []
    real = tables_module.subprocess.run

    def watched(*args: object, **options: object) -> object:
        seen.append(options["env"])  # type: ignore[arg-type]
        return real(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(tables_module.subprocess, "run", watched)
    file = tmp_path / "t.sqlite"
    sqlite3.connect(file).executescript("CREATE TABLE t (a)").close()
    Tables(file).run("SELECT 1")
    assert seen and not any("KEY" in name for name in seen[0])


ATOMS = [
    "t", "a", "b", "child", "*", "1", "'x'", "1000000000", "\"t\"", "(", ")", ",", ";", "--", "/*", "*/", "\n", "=",
    "IN",
    "SELECT", "FROM", "WHERE", "UNION", "ALL", "WITH", "x", "AS", "DELETE", "INSERT", "INTO", "VALUES", "UPDATE", "SET",
    "DROP", "TABLE", "PRAGMA", "writable_schema", "ATTACH", "VACUUM", "CREATE", "TEMP", "TRIGGER", "load_extension",
    "readfile", "RETURNING", "REPLACE", "ALTER", "RENAME", "TO", "LIMIT", "ORDER", "BY", "JOIN", "ON", "count", "hex",
    "zeroblob", "sqlite_master", "BEGIN", "COMMIT", "REINDEX", "EXPLAIN", "RECURSIVE", "\0", "é", "||", "CASE", "END",
]  # fmt: skip
WRITES = [sql for sql in REFUSED if sql.strip(" ;") and "{" not in sql and not sql.startswith("EXPLAIN")]


def made_up(rng: random.Random) -> str:
    """Words at random, or a statement of the lists with some of its words replaced, doubled or joined to others."""
    if rng.random() < 0.3:
        return " ".join(rng.choices(ATOMS, k=rng.randint(1, 14)))
    words = rng.choice([*WRITES, *ACCEPTED]).split(" ")
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(words) + 1)
        words[place : place + rng.randint(0, 2)] = rng.choices(ATOMS, k=rng.randint(0, 2))
    text = " ".join(words)
    if rng.random() < 0.3:
        text += rng.choice([";", "; ", " UNION ", " --", "/*", "\n"]) + rng.choice([*WRITES, *ACCEPTED])
    return text


def test_ten_thousand_made_up_statements(database: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The database stays as it is, and whatever runs asks the authorizer for nothing but to read."""
    pytest.importorskip("sqlglot")
    if database.read_bytes()[18] == 2:
        pytest.skip("one kind of file is enough")
    steps: set[int] = set()
    real = sql_reader.forbid

    def watched(connection: sqlite3.Connection, functions: frozenset[str]) -> None:
        real(connection, functions)
        connection.set_trace_callback(lambda sql: steps.add(connection.total_changes))

    monkeypatch.setattr(sql_reader, "forbid", watched)
    monkeypatch.setattr(tables_module, "answered", sql_reader.reply_to)  # a process for each would take minutes
    rng, before, files = random.Random(0), digest(database), sorted(tmp_path.iterdir())
    tables, ran, refused = Tables(database, timeout_s=0.5), 0, 0
    for _ in range(10_000):
        sql = made_up(rng)
        try:
            tables.run(sql)
            ran += 1
            assert sql.lstrip("( \n;").upper().startswith(("SELECT", "WITH", "VALUES", "--", "/*")), sql
        except ConsortError as fault:
            assert fault.exit_code == 2
            refused += 1
    assert ran > 300
    assert refused > 5000
    assert steps == {0}
    assert digest(database) == before
    assert sorted(tmp_path.iterdir()) == files


def test_schema(database: Path) -> None:
    child, table = Tables(database).tables
    assert [(c.name, c.type, c.key) for c in table.columns] == [("a", "INTEGER", True), ("b", "TEXT", False)]
    assert table.rows == ((0, "x0"), (1, "x1"), (2, "x2"))
    assert child.columns[1].refers == ("t", "a")


@pytest.mark.parametrize("data", [None, b"", b"text", b"SQLite format 3\0 and no more"])
def test_what_is_no_database(tmp_path: Path, data: bytes | None) -> None:
    file = tmp_path / "no.db"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises((BadParameter, BadData)):
        Tables(file).tables  # noqa: B018
    assert [p.name for p in tmp_path.iterdir()] == ([] if data is None else ["no.db"])


def test_a_connection_cannot_write_even_without_the_guard(database: Path) -> None:
    with pytest.raises(sqlite3.Error):
        connected(database).execute("DELETE FROM t")


DUCK_REFUSED = [
    "COPY t TO '{place}'", "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'", "SELECT * FROM glob('/*')", "ATTACH '{place}'", "INSTALL httpfs", "LOAD httpfs",
    "SET enable_external_access=true", "PRAGMA version", "CREATE TABLE u AS SELECT 1", "DROP TABLE t",
    "SELECT 1; SELECT 2",
    "SELECT * FROM query('SELECT 1')", "EXPORT DATABASE '{place}'", "INSERT INTO t VALUES (1)", "CHECKPOINT",
    "SELECT * FROM duckdb_settings()", "SELECT getenv('HOME')", "RESET threads", "CALL pragma_version()",
    "SELECT * FROM arrow_scan(1, 2, 3)", "SELECT * FROM pandas_scan(1)", "SELECT write_log('x')",
    "SELECT * FROM truncate_duckdb_logs()", "SELECT sleep_ms(1)",
]  # fmt: skip


DUCK_BOMBS = [
    "SELECT count(*) FROM t a, t b, t c, t d WHERE a.a + b.a + c.a + d.a = 7",
    "SELECT list_sum(range(1000000000))",
    "SELECT repeat('x', 2000000000)",
    "WITH RECURSIVE c(s) AS (SELECT [1] UNION ALL SELECT list_concat(s, s) FROM c) SELECT max(len(s)) FROM c",
]


def test_duckdb_reads_and_reaches_nothing_else(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("sqlglot")
    file, place = tmp_path / "t.duckdb", tmp_path / "made"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE t AS SELECT range AS a, 'x' || range AS b FROM range(1000)")
    before = digest(file)
    tables = Tables(file, timeout_s=0.5)
    assert tables.run("SELECT a, b FROM t ORDER BY a LIMIT 2").rows == ((0, "x0"), (1, "x1"))
    assert len(tables.run("WITH x AS (SELECT a FROM t) SELECT * FROM x").rows) == 200
    assert [table.name for table in tables.tables] == ["t"]
    for sql in DUCK_REFUSED:
        with pytest.raises(BadData):
            tables.run(sql.format(place=place))
    for sql in DUCK_BOMBS:
        with pytest.raises(BadData, match="longer than|Out of Memory|process that read ended"):
            tables.run(sql)
    with pytest.raises(BadData):
        tables.run("SELECT * FROM tables")  # no variable of Python is a table
    assert str(tables.run("SELECT DATE '2020-01-02', 1.20::DECIMAL(5, 2), 'a'::BLOB").rows) == (
        "(('2020-01-02', Decimal('1.20'), b'a'),)"
    )
    assert digest(file) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.duckdb"]


def test_without_sqlglot_duckdb_is_refused_and_sqlite_left_to_its_authorizer(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb")
    duckdb.connect(str(tmp_path / "t.duckdb")).close()
    monkeypatch.setitem(sys.modules, "sqlglot", None)
    with pytest.raises(MissingExtra, match="sqlglot") as caught:
        Tables(tmp_path / "t.duckdb").run("SELECT 1")
    assert "consort[sql]" in caught.value.hint
    assert Tables(database).run("SELECT a FROM t LIMIT 1").rows == ((0,),)
    with pytest.raises(BadData, match="refused"):
        Tables(database).run("DELETE FROM t")


def test_results_are_compared_by_their_rows() -> None:
    one = Rows(("a", "b"), ((1, "x"), (2, "y"), (2, "y")))
    turned = Rows(("p", "q"), (("y", 2.0), ("x", 1), ("y", 2)))
    assert same(one, turned)
    assert canonical(one) == canonical(turned)
    assert not same(one, turned, ordered=True)
    assert not same(one, Rows(("a", "b"), ((1, "x"), (2, "y"))))
    assert not same(one, Rows(("a",), ((1,), (2,), (2,))))
    assert same(Rows(("a",), ()), Rows(("b",), ()))
    crossed = Rows(("a", "b"), ((1, 2), (2, 3), (3, 1)))  # each column has the same values
    assert same(crossed, Rows(("b", "a"), ((2, 1), (3, 2), (1, 3))))
    assert not same(crossed, Rows(("a", "b"), ((1, 1), (2, 2), (3, 3))))
    assert same(Rows(("n",), ((None,), (True,))), Rows(("n",), ((1.0,), (None,))))
    assert overlap(one, turned) == 1
    assert overlap(one, Rows(("a", "b"), ((1, "x"),))) == pytest.approx(0.5)
    assert overlap(one, Rows(("a",), ())) == 0
