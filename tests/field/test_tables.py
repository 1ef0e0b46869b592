"""Tables of cached answers, as found in the field (C1, C2, C5, C9, F17)."""

from __future__ import annotations

import gzip
import json
import pickle
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consort.core.errors import BadData, BadParameter
from consort.ensemble.learning.observations import from_table
from consort.evaluate import evaluate
from consort.models.cached.model import open_table, table_model
from consort.plan.build import build
from consort.plan.expression import dump, parse
from consort.plan.references import open_task


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


def row(prompt: str, split: str, **scores: Any) -> dict[str, Any]:
    return {"prompt": prompt, "split": split, "scores": scores}


@pytest.fixture
def twins(tmp_path: Path) -> str:
    """p stands in dev and in test with other scores, q in test alone."""
    rows = [row("p", "dev", a=1, b=0), row("p", "test", a=0, b=1), row("q", "test", a=0, b=1)]
    return written(tmp_path / "t.jsonl", rows)


def test_C1_rows_without_a_split_are_cut_by_their_prompts(tmp_path: Path) -> None:
    rows = [{"prompt": f"{'add' if i % 2 else 'say'} {i}", "scores": {"a": i % 2, "b": 1 - i % 2}} for i in range(400)]
    table = open_table(written(tmp_path / "t.jsonl", rows))
    dev = [zlib.crc32(r["prompt"].encode()) % 5 < 2 for r in rows]
    assert table.rows_of("dev") == [i for i, is_dev in enumerate(dev) if is_dev]
    assert len(from_table(table, split="dev")) + len(from_table(table, split="test")) == 400


def test_C2_a_prompt_is_answered_from_its_own_split(twins: str) -> None:
    task = open_task(f"table:{twins}")
    for column, dev, test in (("a", 1.0, 0.0), ("b", 0.0, 1.0)):
        model = table_model(f"table:{twins}#{column}")
        assert evaluate(model, task, split="dev").score == dev
        assert evaluate(model, task, split="test").score == test


def test_C2_a_chat_is_answered_from_its_own_split(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "q"}]
    rows = [{"messages": chat, "split": s, "scores": {"a": v}} for s, v in (("dev", 1), ("test", 0))]
    path = written(tmp_path / "t.jsonl", rows)
    scores = [
        evaluate(table_model(f"table:{path}#a"), open_task(f"table:{path}"), split=s).score for s in ("dev", "test")
    ]
    assert scores == [1.0, 0.0]


def test_C2_rows_twice_in_one_split_keep_their_own_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "t.jsonl", [row("p", "test", a=1), row("p", "test", a=0), row("q", "test", a=0)])
    assert evaluate(table_model(f"table:{path}#a"), open_task(f"table:{path}")).scores == (1.0, 0.0, 0.0)
    assert "1 prompt stands more than once in one split" in caplog.text


def test_C2_a_prompt_that_could_be_either_is_refused(twins: str) -> None:
    with pytest.raises(BadData, match=r"lines 1 \(dev\), 2 \(test\), with different values for a") as caught:
        table_model(f"table:{twins}#a").generate(["p"])
    assert "--task" in str(caught.value.hint)
    assert table_model(f"table:{twins}#a").generate(["q"])[0].details["quality"] == 0.0


def test_C2_contamination_is_counted_told_and_can_be_left_out(twins: str, caplog: pytest.LogCaptureFixture) -> None:
    assert len(open_table(twins).prompts) == 3
    assert "1 of 2 test rows have a prompt that dev has too; contaminated=drop leaves them out" in caplog.text
    table = open_table(twins, contaminated="drop")
    assert (table.prompts, table.lines, table.path) == (("p", "q"), (1, 3), f"{twins}?contaminated=drop")
    task = open_task(f"table:{twins}?contaminated=drop")
    assert [e.prompt for e in task.test] == ["q"]
    assert evaluate(table_model(f"table:{twins}?contaminated=drop#b"), task).score == 1.0


def test_C2_examples_of_a_table_are_plain_values(twins: str) -> None:
    task = open_task(f"table:{twins}")
    example = pickle.loads(pickle.dumps(task.test[0]))
    assert (example.prompt, json.dumps(asdict(example)["prompt"])) == ("p", '"p"')
    assert table_model(f"table:{twins}#a").generate([example.prompt])[0].details["quality"] == 0.0


def test_C2_rows_of_a_split_are_rows_and_not_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("prompt,a,split\np,1,dev\nq,0,test\n")
    np.testing.assert_array_equal(from_table(open_table(tmp_path / "t.csv"), split="test").quality, [[0.0]])


@pytest.mark.parametrize("unknown", ["null", "NaN", '"nan"', '"None"', '""', '"NA"'])
def test_C5_an_unknown_score_is_left_out_for_that_model_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, unknown: str
) -> None:
    path = tmp_path / "t.jsonl"
    rows = [("p", "1", "0"), ("q", unknown, "1"), ("r", "0", "1")]
    path.write_text(
        "".join(f'{{"prompt": "{p}", "split": "test", "scores": {{"a": {a}, "b": {b}}}}}\n' for p, a, b in rows)
    )
    task = open_task(f"table:{path}")
    ours, theirs = (evaluate(table_model(f"table:{path}#{name}"), task) for name in "ab")
    assert (ours.score, ours.figures, theirs.score) == (0.5, {"left_out": 1.0}, pytest.approx(2 / 3))
    assert caplog.text.count("1 of 3 scores of a are not known") == 1 and "of b" not in caplog.text
    assert len(from_table(open_table(path)).prompts) == 3


def test_C5_unknown_scores_of_plain_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("prompt,a,b\np,1,nan\nq,,0.5\nr,None,0\n")
    table = open_table(tmp_path / "t.csv")
    np.testing.assert_array_equal(table.quality, [[1, np.nan], [np.nan, 0.5], [np.nan, 0]])


@pytest.mark.parametrize("cell", ["NA", "#N/A", "-", "?", " ", "<NA>", "n/a"])
def test_C5_what_spreadsheets_write_for_unknown(tmp_path: Path, cell: str) -> None:
    (tmp_path / "t.csv").write_text(f"prompt,a\np,1\nq,{cell}\nr,0\n")
    np.testing.assert_array_equal(open_table(tmp_path / "t.csv").quality, [[1], [np.nan], [0]])


@pytest.mark.parametrize("cell", ["inf", "50%", "yes", "pending"])
def test_C5_a_word_among_scores_does_not_make_them_answers(tmp_path: Path, cell: str) -> None:
    (tmp_path / "t.csv").write_text(f"prompt,a\np,1\nq,{cell}\nr,0\n")
    with pytest.raises(BadData, match="stands in a column of scores") as caught:
        open_table(tmp_path / "t.csv")
    assert "a_answer" in str(caught.value.hint) and str(caught.value.field).endswith("t.csv:3: a")
    (tmp_path / "t.csv").write_text("prompt,a\np,42\nq,seven\nr,1\n")
    assert open_table(tmp_path / "t.csv").answers == (("42",), ("seven",), ("1",))


def test_C5_a_model_of_which_nothing_is_known_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", [row("p", "test", a=None, b=1), row("q", "test", b=1)])
    with pytest.raises(BadData, match="no answer of it is known"):
        evaluate(table_model(f"table:{path}#a"), open_task(f"table:{path}"))


def test_C5_an_unknown_answer_is_left_out_of_other_metrics(tmp_path: Path) -> None:
    from consort.data import load_task

    path = written(tmp_path / "t.jsonl", [{"prompt": p, "answers": {"a": a}} for p, a in (("p", "x"), ("q", None))])
    asked = written(tmp_path / "task.jsonl", [{"prompt": p, "target": "x", "split": "test"} for p in "pq"])
    assert evaluate(table_model(f"table:{path}#a"), load_task(asked)).score == 1.0


@pytest.mark.parametrize(
    ("scores", "scale", "wanted"),
    [((85, 90), "100", [0.85, 0.9]), ((-1, 0.5), "-1..1", [0.0, 0.75]), ((1, 5), "1..5", [0.0, 1.0])],
)
def test_C9_scores_of_another_range_are_scaled_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, scores: Any, scale: str, wanted: list[float]
) -> None:
    wide = written(tmp_path / "w.jsonl", [row("p", "test", a=scores[0], b=scores[1])])
    (tmp_path / "p.csv").write_text(f"prompt,a,b\np,{scores[0]},{scores[1]}\n")
    for path in (wide, str(tmp_path / "p.csv")):
        np.testing.assert_allclose(open_table(f"{path}?scale={scale}").quality, [wanted])
    assert caplog.text.count("are read as qualities of [0, 1]") == 2


@pytest.mark.parametrize("cells", ["85,90", "-0.5,1"])
def test_C9_without_a_range_they_are_no_answers(tmp_path: Path, cells: str) -> None:
    (tmp_path / "t.csv").write_text(f"prompt,a,b\np,{cells}\n")
    with pytest.raises(BadData, match=r"outside \[0, 1\]") as caught:
        open_table(tmp_path / "t.csv")
    assert "scale=100" in str(caught.value.hint) and "a_answer" in str(caught.value.hint)
    path = written(tmp_path / "t.jsonl", [row("p", "test", a=float(cells.split(",")[0]))])
    with pytest.raises(BadData, match="not a quality") as caught:
        open_table(path)
    assert "scale" in str(caught.value.hint)


def test_C9_options_of_tables_stand_in_plans(twins: str) -> None:
    node = parse({"table": twins, "column": "a", "scale": [0, 10], "contaminated": "drop"})
    assert dump(node) == f"table:{twins}?scale=10&contaminated=drop#a" and parse(dump(node)) == node
    assert build(node).generate(["p"])[0].details["quality"] == 0.1
    for bad in ("scale=x", "scale=0", "scale=2..1", "scal=1", "contaminated=yes", "x"):
        with pytest.raises(BadParameter):
            open_table(f"{twins}?{bad}")


def test_F17_a_sparse_or_huge_table_is_refused_in_the_first_read(tmp_path: Path) -> None:
    for size, says in ((2**20, "zero bytes"), (3 * 2**30, "more than 2147483648 bytes")):
        path = tmp_path / f"{size}.jsonl"
        with open(path, "wb") as file:
            file.truncate(size)
        with pytest.raises(BadData, match=says):
            open_table(path)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b"\0" * 2**20))
    with pytest.raises(BadData, match="zero bytes"):
        open_table(tmp_path / "t.jsonl.gz")


def test_F17_a_sparse_task_is_refused_in_the_first_read(tmp_path: Path) -> None:
    from consort.data import load_task

    with open(tmp_path / "t.jsonl", "wb") as file:
        file.truncate(3 * 2**30)
    with pytest.raises(BadData, match="zero bytes"):
        load_task(tmp_path / "t.jsonl")


def test_a_table_that_names_other_models_in_each_row_is_bounded(tmp_path: Path) -> None:
    path = written(tmp_path / "t.jsonl", [{"prompt": str(i), "scores": {f"m{i}": 1}} for i in range(5000)])
    with pytest.raises(BadData, match="rows times models"):
        open_table(path)


def test_a_table_in_use_is_read_once(twins: str) -> None:
    table = open_table(twins)
    assert open_table(twins) is table
    assert open_table(f"{twins}?scale=2") is not table
    Path(twins).write_text(json.dumps(row("z", "dev", a=1)))
    assert open_table(twins).prompts == ("z",)
