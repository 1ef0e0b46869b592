"""Questions to a database: written, guarded, run, mended, answered; and votes over what queries return."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from consort.cooperate.retrieve.retrievers.sql import Sql
from consort.cooperate.retrieve.text_to_sql import TextToSql
from consort.core.errors import BadParameter
from consort.core.types import Example
from consort.ensemble.after.sql_mbr import SqlMbr
from consort.ensemble.after.vote import Vote
from consort.evaluate.metrics.sql_execution import is_ordered
from consort.evaluate.registry import find_metric
from consort.models.fake import FakeModel
from consort.plan.build import build
from consort.plan.expression import parse


@pytest.fixture
def database(tmp_path: Path) -> str:
    file = tmp_path / "zoo.sqlite"
    connection = sqlite3.connect(file)
    connection.executescript(
        "CREATE TABLE animal (name TEXT PRIMARY KEY, legs INTEGER);"
        "INSERT INTO animal VALUES ('fox', 4), ('hen', 2), ('snake', 0), ('<|im_start|>', 9);"
    )
    connection.close()
    return str(file)


def says(name: str, text: str) -> FakeModel:
    return FakeModel(lambda prompt: text, name=name)


def test_a_question_is_answered_by_rows(database: str) -> None:
    seen: list[str] = []

    def model(prompt: str) -> str:
        seen.append(prompt)
        return "Four." if "rows below" in prompt else "```sql\nSELECT legs FROM animal WHERE name = 'fox';\n```"

    (answer,) = TextToSql(FakeModel(model), database=database).generate(["How many legs has a fox?"])
    assert answer.text == "Four."
    assert answer.details["sql"] == "SELECT legs FROM animal WHERE name = 'fox'"
    assert (answer.details["rows"], answer.details["errors"]) == ([[4]], [])
    assert answer.cost["fake"].calls == 2
    assert "name TEXT PRIMARY KEY" in seen[0]
    assert "-- fox | 4" in seen[0]
    assert "legs\n4\n</source 1>" in seen[1]
    for how, text in {"rows": "legs\n4", "sql": "SELECT legs FROM animal WHERE name = 'fox'"}.items():
        assert TextToSql(FakeModel(model), database=database, answer=how).generate(["?"])[0].text == text


@pytest.mark.parametrize("repairs", [0, 2])
def test_an_error_goes_back_to_the_model_a_bounded_number_of_times(database: str, repairs: int) -> None:
    seen: list[str] = []

    def model(prompt: str) -> str:
        seen.append(prompt)
        return "DROP TABLE animal"

    (answer,) = TextToSql(FakeModel(model), database=database, repairs=repairs).generate(["?"])
    assert len(seen) == repairs + 1 == len(answer.details["errors"]) == answer.cost["fake"].calls
    assert answer.details["retrieved"] is False
    assert answer.details["unretrieved"].startswith(("refused", "failed"))
    assert all("Error: " in prompt for prompt in seen[1:])
    assert sqlite3.connect(database).execute("SELECT count(*) FROM animal").fetchone() == (4,)


def test_a_mended_statement_is_run_and_values_are_data(database: str) -> None:
    def model(prompt: str) -> str:
        assert "<|im_start|>" not in prompt
        if "Error: " not in prompt:
            return "SELECT leg FROM animal"
        assert "no such column: leg" in prompt
        return "SELECT name FROM animal WHERE legs = 9"

    (answer,) = TextToSql(FakeModel(model), database=database, answer="rows").generate(["{error} {sql} ?"])
    assert answer.text == "name\n<|im_start|>"
    assert len(answer.details["errors"]) == 1


def test_rows_as_evidence(database: str) -> None:
    retriever = Sql(model=says("m", "SELECT name FROM animal WHERE legs < 3 ORDER BY 1"), database=database)
    [hit], none = retriever.search(["few legs", " "], 3)
    assert (hit.text, hit.source) == ("name\nhen\nsnake", database)
    assert none == []
    assert Sql(model=says("m", "no idea"), database=database).search(["?"], 1) == [[]]


def test_queries_that_return_the_same_rows_agree(database: str) -> None:
    """Two of four return the hen, in other words; texts all differ, and one does not run."""
    models = [
        says("wrong", "SELECT name FROM animal WHERE legs = 4"),
        says("one", "SELECT name FROM animal WHERE legs = 2"),
        says("broken", "SELECT nam FROM animal"),
        says("two", "Here: SELECT a.name AS n FROM animal AS a WHERE a.legs > 1 AND a.legs < 3;"),
    ]
    plan = {"execution": {"database": database}}
    (answer,) = Vote(models, answer=plan).generate(["?"])
    assert answer.details["answered_by"] == "one"
    assert Vote(models).generate(["?"])[0].details["answered_by"] == "wrong"
    (answer,) = SqlMbr(models, database=database).generate(["?"])
    assert (answer.details["answered_by"], answer.details["ran"]) == ("one", ("wrong", "one", "two"))
    nearly = [says("a", "SELECT name FROM animal WHERE legs > 1"), *models[:2]]
    assert SqlMbr(nearly, database=database).generate(["?"])[0].details["answered_by"] == "a"


def test_execution_accuracy(database: str) -> None:
    metric = find_metric("sql_execution", {"database": database.replace("zoo", "{group}")})
    example = Example(prompt="?", target=("SELECT name, legs FROM animal WHERE legs > 1 AND legs < 9",), group="zoo")
    assert metric.statistics("SELECT legs, name FROM animal WHERE legs IN (2, 4)", example) == (1, 1)
    assert metric.statistics("SELECT name FROM animal WHERE legs IN (2, 4)", example) == (0, 1)
    assert metric.statistics("I do not know", example) == (0, 1)
    assert metric.statistics("SELECT nothing", example) == (0, 1)
    ordered = Example(prompt="?", target=("SELECT name FROM animal ORDER BY legs",), group="zoo")
    assert metric.statistics("SELECT name FROM animal ORDER BY legs DESC", ordered) == (0, 1)
    assert is_ordered("select a from t order\nby a")
    assert not is_ordered("select a from (select a from t order by a)")


def test_in_a_plan(database: str) -> None:
    plan = {"text_to_sql": {"model": "lab:base", "database": database, "answer": "sql"}}
    assert build(parse(plan)).name == "text_to_sql(lab:base)"
    with pytest.raises(BadParameter, match="no database"):
        build(parse({"text_to_sql": {"model": "lab:base", "database": __file__}}))
