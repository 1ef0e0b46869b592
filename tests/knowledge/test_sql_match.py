"""Clause by clause: hand-made cases, and the output of the benchmark's own evaluator, to the digit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consort.core.errors import BadData
from consort.core.types import Example
from consort.evaluate.registry import find_metric
from consort.knowledge.sql_match import LEVELS, Schema, match, schemas_in, table_of

SCHEMA = Schema.of(
    {"singer": ["id", "name", "age"], "song": ["id", "singer_id", "title"]}, [("song.singer_id", "singer.id")]
)


@pytest.mark.parametrize(
    ("prediction", "reference", "exact", "wrong"),
    [
        ("SELECT age, name FROM singer", "SELECT name , age FROM singer", True, set()),
        ("SELECT name FROM singer WHERE age > 3", "SELECT name FROM singer WHERE age > 30", True, set()),
        ("SELECT DISTINCT name FROM singer", "SELECT name FROM singer", True, set()),
        ("SELECT max(age) FROM singer", "SELECT min(age) FROM singer", False, {"select"}),
        ("SELECT name FROM singer WHERE age < 3", "SELECT name FROM singer WHERE age > 3", False, {"where"}),
        (
            "SELECT T1.name FROM singer AS T1 JOIN song AS T2 ON T1.id = T2.singer_id GROUP BY T1.id",
            "SELECT T1.name FROM singer AS T1 JOIN song AS T2 ON T1.id = T2.singer_id GROUP BY T2.singer_id",
            True,
            set(),
        ),
        (
            "SELECT name FROM singer ORDER BY age",
            "SELECT name FROM singer ORDER BY age DESC",
            False,
            {"order", "keywords"},
        ),
        (
            "SELECT name FROM singer UNION SELECT title FROM song",
            "SELECT name FROM singer EXCEPT SELECT title FROM song",
            False,
            {"IUEN", "keywords"},
        ),
        ("nothing of the kind", "SELECT name FROM singer", False, {"select", "select(no AGG)"}),
    ],
)
def test_parts(prediction: str, reference: str, exact: bool, wrong: set[str]) -> None:
    found = match(prediction, reference, SCHEMA)
    assert found.exact is exact
    assert {part for part, (a, b, c) in found.parts.items() if not a == b == c} == wrong


def test_one_table_counts_where_that_is_asked() -> None:
    pair = "SELECT count(*) FROM song", "SELECT count(*) FROM singer"
    assert match(*pair, SCHEMA).exact
    assert not match(*pair, SCHEMA, every_table=True).exact


def test_a_reference_that_is_not_understood_is_an_error() -> None:
    with pytest.raises(BadData, match="not understood"):
        match("SELECT name FROM singer", "SELECT nobody FROM singer", SCHEMA)


def test_levels() -> None:
    levels = {
        "SELECT count(*) FROM singer": "easy",
        "SELECT name, age FROM singer WHERE age > 3": "medium",
        "SELECT name FROM singer WHERE id IN (SELECT singer_id FROM song)": "hard",
        "SELECT T1.name, count(*) FROM singer AS T1 JOIN song AS T2 ON T1.id = T2.singer_id WHERE T1.age > 1 AND "
        "T2.title LIKE 'a' GROUP BY T1.id ORDER BY count(*) DESC LIMIT 1": "extra",
    }
    for sql, level in levels.items():
        assert match(sql, sql, SCHEMA).level == level


def told(file: Path) -> dict[tuple[str, str], list[str]]:
    """The rows of the evaluator's output: five figures by part and score."""
    found, score = {}, "exact"
    for line in file.read_text("utf-8").splitlines()[-45:]:
        heading = re.search(r"PARTIAL MATCHING (\w+)", line)
        score = {"ACCURACY": "acc", "RECALL": "rec", "F1": "f1"}[heading[1]] if heading else score
        figures = re.findall(r"\d\.\d{3}", line)
        if len(figures) == 5:
            found["" if score == "exact" else line[:20].strip(), score] = figures
    return found


def test_spider_s_own_evaluation(shared: Path) -> None:
    folder = shared / "sql" / "spider_dev"
    schemas = schemas_in(folder / "tables.json")
    gold = [line.split("\t") for line in (folder / "gold_example.txt").read_text("utf-8").splitlines()]
    predicted = [line.split("\t")[0] for line in (folder / "pred_example.txt").read_text("utf-8").splitlines()]
    matches = [match(said, sql, schemas[name]) for said, (sql, name) in zip(predicted, gold, strict=True)]
    scores = table_of(matches)
    wanted = told(folder / "eval_result_example.txt")
    assert len(wanted) == 31
    for (part, score), figures in wanted.items():
        assert [f"{scores[level][part][score]:.3f}" for level in (*LEVELS, "all")] == figures, (part, score)
    assert [f"{scores[level]['']['exact']:.3f}" for level in (*LEVELS, "all")] == [
        "0.968",
        "0.720",
        "0.718",
        "0.388",
        "0.725",
    ]


def test_the_metric(shared: Path) -> None:
    metric = find_metric("sql_match", {"schemas": str(shared / "sql" / "spider_dev" / "tables.json")})
    example = Example(prompt="?", target=("SELECT count(*) FROM singer",), group="concert_singer")
    assert metric.statistics("```sql\nselect count( * ) from singer;\n```", example) == (1, 1)
    assert metric.statistics("select name from singer", example) == (0, 1)
    with pytest.raises(BadData, match="no schema"):
        metric.statistics("select 1", Example(prompt="?", target=("SELECT 1",), group="nowhere"))
