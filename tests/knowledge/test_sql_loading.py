"""Dumps and CSV files as databases, and 210 public questions whose references run through loader and guard."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from consort.core.errors import BadData, BadParameter, ConsortError, OutputExists
from consort.core.types import Example
from consort.evaluate.registry import find_metric
from consort.knowledge.sql_loading import build_tables
from consort.knowledge.tables import Tables

pytest.importorskip("sqlglot")
DUMP = """
CREATE SCHEMA IF NOT EXISTS shop;
CREATE TABLE shop.item (id BIGINT PRIMARY KEY, name VARCHAR(50) NOT NULL, sold BOOLEAN, made DATE, tags TEXT[]);
CREATE TABLE shop.sale (item_id BIGINT REFERENCES shop.item(id), at TIMESTAMP DEFAULT now());
INSERT INTO shop.item VALUES (1, 'pen; DROP TABLE item', TRUE, '2024-02-29'::date, ARRAY['a', 'b']),
  (2, 'ink', FALSE, CURRENT_DATE - INTERVAL '1 month', NULL);
INSERT INTO shop.sale (item_id, at) VALUES (1, DATE_TRUNC('month', NOW()) - INTERVAL '36 hours'), (-2, NOW());
"""


def test_a_dump(tmp_path: Path) -> None:
    (tmp_path / "shop.sql").write_text(DUMP)
    tables = Tables(build_tables([tmp_path / "shop.sql"], tmp_path / "shop.sqlite", now="2024-03-31T10:00:00"))
    assert [table.name for table in tables.tables] == ["item", "sale"]
    assert tables.tables[0].columns[0].key
    assert tables.tables[1].columns[0].refers == ("item", "id")
    assert tables.run("SELECT * FROM item ORDER BY id").rows == (
        (1, "pen; DROP TABLE item", 1, "2024-02-29", '["a", "b"]'),
        (2, "ink", 0, "2024-02-29", None),
    )
    sales = tables.run("SELECT at FROM sale ORDER BY item_id").rows
    assert sales == (("2024-03-31 10:00:00",), ("2024-02-28 12:00:00",))


def test_tables_of_csv(tmp_path: Path) -> None:
    (tmp_path / "town.csv").write_text('name,people,area\n"York, old",153717,\nBath,94782,11.0\n')
    tables = Tables(build_tables([tmp_path / "town.csv"], tmp_path / "t.sqlite"))
    assert tables.run("SELECT * FROM town ORDER BY people").rows == (("Bath", 94782, 11.0), ("York, old", 153717, None))
    with pytest.raises(OutputExists):
        build_tables([tmp_path / "town.csv"], tmp_path / "t.sqlite")


def test_tables_as_people_write_them(tmp_path: Path) -> None:
    """What looks like a number but is a name keeps its zeros and digits; lines may be empty and end as on Windows."""
    file = tmp_path / "p.csv"
    file.write_bytes("\ufeffname;code;id;n\r\nÄnne;01234;123456789012345678901;1e3\r\n\r\nBob;;7;2.5\r\n\r\n".encode())
    rows = Tables(build_tables([file], tmp_path / "p.sqlite")).run("SELECT * FROM p").rows
    assert rows == (("Änne", "01234", "123456789012345678901", 1000.0), ("Bob", None, "7", 2.5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1\n", r"bad.csv:2: has 1 value, its names are 2"),
        ("a,A\n1,2\n", "a name of their own"),
        ("a,\n1,2\n", "a name of their own"),
        ("", "is no table"),
        ('a\n"open\n', "is no table"),
    ],
)
def test_bad_tables_leave_nothing(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(BadData, match=said):
        build_tables([tmp_path / "bad.csv"], tmp_path / "out.sqlite")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize(
    "text",
    ["CREATE TABLE t (a INT); INSERT INTO t VALUES (load_extension('x'));", "INSERT INTO t VALUES (1)", "no dump ((",
     "CREATE TABLE t AS SELECT 1", "CREATE TABLE t (a INT); INSERT INTO t SELECT 1", "CREATE TABLE t (a INT, a INT)"],
)  # fmt: skip
def test_bad_dumps_leave_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.sql").write_text(text)
    with pytest.raises(BadData):
        build_tables([tmp_path / "bad.sql"], tmp_path / "out.sqlite")
    with pytest.raises(BadParameter):
        build_tables([tmp_path / "none.sql"], tmp_path / "out.sqlite")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.sql"]


@pytest.mark.parametrize(
    ("every", "questions", "accepted_of_them"), [(5, 42, 71), pytest.param(1, 210, 351, marks=pytest.mark.slow)]
)
def test_references_of_a_public_set_run_and_all_alternatives_are_right(
    shared: Path, tmp_path: Path, every: int, questions: int, accepted_of_them: int
) -> None:
    """Defog's 210 questions, or some of every database: a naive load lets 129 of the references run."""
    folder = shared / "sql" / "defog_sqleval"
    for dump in sorted(folder.glob("*.sql")):
        build_tables([dump], tmp_path / f"{dump.stem}.sqlite", now="2024-05-31T12:00:00")
    metric = find_metric("sql_execution", {"database": str(tmp_path / "{group}.sqlite")})
    with open(folder / "questions_gen_sqlite.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 210
    databases, rows = {row["db_name"] for row in rows}, rows[::every]
    assert {row["db_name"] for row in rows} == databases
    runs, right, alternatives = 0, 0, 0
    for line, row in enumerate(rows, 1):
        accepted = [sql.strip() for sql in row["query"].split(";") if sql.strip()]
        example = Example(prompt=row["question"], target=tuple(accepted), group=row["db_name"], line=line)
        try:
            right += sum(metric.statistics(sql, example)[0] for sql in accepted)
            runs += 1
        except ConsortError:
            pass
        alternatives += len(accepted)
    assert runs == len(rows) == questions
    assert right == alternatives == accepted_of_them
