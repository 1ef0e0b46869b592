"""What is given beside models and task: an index and rows to train on are checked before any work."""

from __future__ import annotations

import json
import shutil

import pytest

from consort import load_task
from consort.core.errors import BadData, BadParameter, ConsortError
from consort.knowledge.graph import build_graph
from consort.recipes.auto.given import open_given
from consort.recipes.auto.run import auto


@pytest.fixture
def task(everything):
    return load_task(everything.task)


def test_an_index_is_asked_by_the_retriever_that_suits_it(everything, task, tmp_path):
    given = open_given(task, everything.index, None)
    assert given.retriever == {"bm25": {"index": str(everything.index)}} and list(given.identity) == [given.docs]
    (tmp_path / "facts.tsv").write_text("oru\tcolour\tamber\n")
    graph = build_graph([tmp_path / "facts.tsv"], tmp_path / "graph")
    assert open_given(task, graph, None).retriever == {"graph": {"graph": str(graph)}}


@pytest.mark.parametrize("spoil", ["documents", "nothing", "another encoder", "damaged", "another kind"])
def test_what_is_no_index_is_refused_before_any_work(spoil, everything, tmp_path):
    docs = shutil.copytree(everything.index, tmp_path / "index")
    header = json.loads((docs / "index.json").read_text())
    if spoil == "documents":
        docs = everything.index.parent / "docs"
    elif spoil == "nothing":
        docs = tmp_path / "nowhere"
    elif spoil == "another encoder":
        header["encoder"] = {"name": str(tmp_path / "encoder"), "digest": "00"}
    elif spoil == "damaged":
        name = next(iter(header["files"]))
        (docs / name).write_bytes((docs / name).read_bytes()[:-1])
    else:
        header["kind"] = "sql"
    if spoil in ("another encoder", "another kind"):
        (docs / "index.json").write_text(json.dumps(header))
    with pytest.raises(ConsortError) as refused:
        auto(["lab:mirror"], task=everything.task, out=tmp_path / "run", docs=docs)
    assert refused.value.hint and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "what colour is the  dam oruak ?", "target": "red"}, "ask what the task's dev asks"),
        ({"prompt": "what colour is the dam nodak ?", "target": "red"}, "ask what the task's test asks"),
        ({"text": "so: what colour is the dam nodak ? grey"}, None),
        ({"text": "quiz: what colour is the dam nodak ? COLOUR"}, "line 2"),
        ({"prompt": "mirror x y ="}, "no target"),
    ],
)
def test_rows_that_the_task_asks_are_refused(row, says, everything, task, tmp_path):
    colour = next(one.target[0] for one in task.test if one.prompt == "what colour is the dam nodak ?")
    row = {key: value.replace("COLOUR", colour) for key, value in row.items()}
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps({"prompt": "mirror x =", "target": "x"}) + "\n" + json.dumps(row) + "\n")
    if says is None:
        assert open_given(task, None, file).train == str(file)
        return
    with pytest.raises(BadData, match=says):
        auto(["lab:mirror"], task=everything.task, out=tmp_path / "run", train=file)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_there_is_refused(everything, task, tmp_path):
    with pytest.raises(BadData, match="no such file"):
        open_given(task, None, tmp_path / "train.jsonl")
    with pytest.raises(BadParameter, match="no folder of an index"):
        open_given(task, tmp_path / "index", None)
