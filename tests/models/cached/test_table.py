"""Cached answers as models."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from consort.core.errors import BadData, BadParameter, UnknownName
from consort.core.types import Sampling
from consort.evaluate import evaluate
from consort.models.cached.model import open_table, split_reference, table_model

ROWS = [
    {
        "prompt": "2+2=",
        "answers": {"a": "4\nnext", "b": "5"},
        "scores": {"a": 1, "b": 0},
        "cost": {"a": 0.5},
        "tokens": {"a": [7, 3], "b": 2},
        "group": "sums",
        "split": "dev",
        "note": 3,
    },
    {"question": "sky?", "answers": {"a": "blue", "b": None}, "scores": {"a": 0.5}, "split": "test"},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "table.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    return path


def test_a_row_has_answers_qualities_costs_and_tokens(file):
    table = open_table(file)
    assert table.models == ("a", "b") and table.groups == ("sums", "")
    np.testing.assert_array_equal(table.quality, [[1, 0], [0.5, np.nan]])
    np.testing.assert_array_equal(table.cost, [[0.5, np.nan], [np.nan, np.nan]])
    (answer,) = table_model(f"table:{file}#a").generate(["2+2="], Sampling(stop=("\n",)))
    assert answer.text == "4" and answer.details == {"quality": 1.0, "price": 0.5}
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.calls) == (7, 3, 1)
    assert answer.cost == {"a": answer.usage}


def test_a_chat_of_one_message_is_its_text(file):
    model = table_model(f"table:{file}#b")
    assert model.generate([[{"role": "user", "content": "2+2="}]])[0].text == "5"


@pytest.mark.parametrize(("prompt", "column"), [("3+3=", "a"), ("sky?", "b")])
def test_what_is_not_there_is_refused(file, prompt, column):
    with pytest.raises(BadData, match="no answer"):
        table_model(f"table:{file}#{column}").generate([prompt])


def test_a_table_is_a_task_of_its_qualities(file):
    task = open_table(file).task()
    assert (task.metric, len(task.dev), len(task.test)) == ("quality", 1, 1)
    assert task.dev[0].group == "sums"


def test_csv_list_and_gzip_say_the_same(tmp_path):
    text = "prompt,a,b,b_response,b_cost\np,True,0.25,hi,2\nq,,1,,\n"
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    rows = [{"prompt": "p", "a": True, "b": 0.25, "b_response": "hi", "b_cost": 2}, {"prompt": "q", "b": 1}]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    (tmp_path / "semicolons.csv").write_text(text.replace(",", ";").replace("0.25", "0,25"))
    (tmp_path / "t.tsv").write_text(text.replace(",", "\t"))
    for name in ("t.csv", "t.csv.gz", "t.json", "semicolons.csv", "t.tsv"):
        table = open_table(tmp_path / name)
        np.testing.assert_array_equal(table.quality, [[1, 0.25], [np.nan, 1]])
        assert table.answers == ((None, "hi"), (None, None)) and table.cost[0, 1] == 2


def test_a_decimal_comma_is_one_in_numbers_alone(tmp_path):
    (tmp_path / "t.csv").write_text("prompt;a;a_answer\n2,5;0,5;3,14\n")
    table = open_table(tmp_path / "t.csv")
    assert table.quality[0, 0] == 0.5 and table.answers == (("3,14",),)
    assert table.find("2,5", 0) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("{}", "no prompt"),
        ('{"prompt": "p"}', "no answers"),
        ('{"prompt": "p", "query": "q", "a": 1}', "both prompt and query"),
        ('{"prompt": "p", "scores": {"a": 2}}', "not a quality"),
        ('{"prompt": "p", "scores": {"a": 1}, "cost": {"a": -1}}', "not a cost"),
        ('{"prompt": "p", "answers": {"a": 1}}', "not an answer"),
        ('{"prompt": 3, "a": 1}', "is no prompt"),
        ('{"prompt": "p", "a": 1, "split": "train"}', "dev"),
        ("[1]", "not a JSON object"),
        ("nonsense", "not JSON"),
    ],
)
def test_bad_tables_are_refused_by_place(tmp_path, text, said):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(BadData, match=said) as caught:
        open_table(path)
    assert "t.jsonl" in caught.value.field and caught.value.hint


@pytest.mark.parametrize(
    ("row", "line", "said"),
    [
        ('{"prompt": "p", "scores": {"a": Infinity}}', 3, "Infinity is not a JSON value"),
        ('{"prompt": "p", "id": %s}' % ("9" * 5000), 3, "a number has thousands of digits"),
        ('{"prompt": "p", "id": %s}' % ("[" * 100000), 3, "nested too deeply"),
        ('{"prompt": "p", "prompt": "q"}', 3, "stands twice"),
        ('{"prompt": "p",\n"scores" {}}', 4, "Expecting ':'"),
        ('{"prompt": "p", "scores": {"a": 1}, "tokens": {"a": 1e308}}', 3, "not a number of tokens"),
        ('{"prompt": "p", "scores": {"a": 1}} {}', 3, "neither a comma nor the end"),
        ("7", 3, "not a JSON object"),
    ],
)
def test_a_bad_row_of_a_list_is_told_by_its_line(tmp_path, row, line, said):
    path = tmp_path / "t.json"
    path.write_text('[{"prompt": "o", "scores": {"a": 1}},\n\n' + row + "]")
    with pytest.raises(BadData, match=said) as caught:
        open_table(path)
    assert caught.value.field.startswith(f"{path}:{line}")


def test_an_unknown_quality_is_left_out_and_told(tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_text("prompt,a_answer,a_score,split\np,x,1,test\nq,y,,test\n")
    result = evaluate(table_model(f"table:{path}#a"), open_table(path).task())
    assert (result.score, result.figures) == (1.0, {"left_out": 1.0})
    assert result.interval == pytest.approx((0.2065, 1.0), abs=1e-4)  # Wilson's of one example
    assert np.isnan(result.scores[1])
    assert "1 of 2 scores of a are not known" in caplog.text


def test_bad_csv_and_names(tmp_path, file):
    (tmp_path / "t.csv").write_text("prompt,a\np,1,2\n")
    with pytest.raises(BadData, match="more or fewer"):
        open_table(tmp_path / "t.csv")
    with pytest.raises(UnknownName, match="no column"):
        table_model(f"table:{file}#c")
    with pytest.raises(BadParameter, match="no column"):
        table_model(f"table:{file}")
    with pytest.raises(BadParameter, match="no table"):
        split_reference("table:#a")
    with pytest.raises(BadData, match="no such file"):
        open_table(tmp_path / "none")
