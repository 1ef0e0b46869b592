from __future__ import annotations

import json
import logging
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadData, BadParameter, ConsortError, UnknownName
from consort.core.types import Example
from consort.data.rows import example_of, parse_row
from consort.data.task import Options, Task, load_task


@pytest.fixture
def file(tmp_path):
    def write(name, *rows):
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / name

    return write


ROW = {"prompt": "2+2=", "target": "4"}


def test_every_column(file):
    chat = [{"role": "user", "content": "hi"}]
    task = load_task(
        file(
            "t.jsonl",
            {"prompt": "p", "target": ["a", "b"], "group": "g", "split": "dev", "id": 7},
            {"messages": chat, "target": "c", "split": "test"},
        )
    )
    assert task.dev == (Example(prompt="p", target=("a", "b"), group="g", line=1),)
    assert task.test == (Example(messages=tuple(chat), target=("c",), line=2),)
    assert (task.name, task.metric, task.options) == ("t", "exact_match", Options())


def test_without_split_the_line_decides(file):
    lines = [json.dumps({"prompt": str(i), "target": "x"}) for i in range(200)]
    task = load_task(file("t.jsonl", *lines))
    dev = tuple(i for i, line in enumerate(lines, 1) if zlib.crc32(line.encode()) % 5 < 2)
    assert tuple(e.line for e in task.dev) == dev and len(task.test) == 200 - len(dev)


@pytest.mark.parametrize(
    ("row", "metric"),
    [
        (ROW, "exact_match"),
        ({"text": "Once"}, "perplexity"),
        ({"prompt": "", "choices": ["a", "b"], "answer": 1}, "choice"),
    ],
)
def test_the_metric_follows_from_the_first_line(file, row, metric):
    assert load_task(file("t.jsonl", row)).metric == metric


def test_folder_with_options(file, tmp_path):
    file("dev.jsonl", ROW | {"prompt": "1+1="})
    file("test.jsonl", ROW)
    text = "dev: dev.jsonl\ntest: ../{}/test.jsonl\nmetric: numeric\nmax_tokens: 8\nstop: ';'\ntolerance: 1e-2\n"
    (tmp_path / "task.yml").write_text(text.format(tmp_path.name))
    task = load_task(tmp_path)
    assert task.options == Options(max_tokens=8, stop=(";",)) and task.metric_options == {"tolerance": 0.01}
    assert (len(task.dev), len(task.test), task.name) == (1, 1, tmp_path.name)
    assert load_task(tmp_path / "task.yml").key == task.key


def test_one_file_for_both_splits_is_cut(file):
    file("all.jsonl", ROW | {"split": "dev"}, {"prompt": "x", "target": "y", "split": "test"})
    task = load_task(file("t.yml", "dev: all.jsonl", "test: all.jsonl"))
    assert (len(task.dev), len(task.test)) == (1, 1)


@pytest.mark.parametrize(
    ("line", "field", "message", "hint"),
    [
        ("{oops", "t.jsonl:2", "not JSON", "one JSON object"),
        ("[1]", "t.jsonl:2", "object", "JSON"),
        ('{"prompt": "p"}', "t.jsonl:2", "column target is missing", "exact_match"),
        ('{"target": "p"}', "t.jsonl:2", "prompt or messages", "exact_match"),
        ('{"prompt": "p", "traget": "x"}', "t.jsonl:2", "traget", "did you mean 'target'?"),
        ('{"prompt": "p", "text": "q", "target": "x"}', "t.jsonl:2", "both prompt and text", "exactly one"),
        ('{"prompt": "p", "target": 4}', "t.jsonl:2: target", "4 is not", '"42"'),
        ('{"prompt": "p", "target": []}', "t.jsonl:2: target", "not", "string"),
        ('{"prompt": "p", "target": "x", "group": 1}', "t.jsonl:2: group", "not", "string"),
        ('{"prompt": "p", "target": "x", "split": "train"}', "t.jsonl:2: split", "train", '"dev" or "test"'),
        ('{"prompt": "p", "target": "x", "split": "dev"}', "t.jsonl:2", "some lines", "all or to none"),
        ('{"prompt": "p", "prompt": "q", "target": "x"}', "t.jsonl:2", "twice", "once"),
        ('{"prompt": "\\ud800", "target": "x"}', "t.jsonl:2", "Unicode", "surrogates"),
        ('{"prompt": "p", "target": NaN}', "t.jsonl:2", "NaN", "JSON"),
        ('{"messages": [{"role": "king", "content": "x"}], "target": "x"}', "t.jsonl:2: messages", "not", "role"),
        ("[" * 20000, "t.jsonl:2", "deeply", "flat"),
        (f'{{"prompt": "p", "target": "x", "id": {"9" * 5000}}}', "t.jsonl:2", "thousands of digits", "JSON"),
    ],
)
def test_a_bad_line_names_file_line_and_column(file, line, field, message, hint):
    with pytest.raises(BadData) as caught:
        load_task(file("t.jsonl", ROW, line))
    assert caught.value.field == field and message in caught.value.message and hint in caught.value.hint


@pytest.mark.parametrize("answer", [2, -1, True, "0", None])
def test_the_answer_is_an_index(file, answer):
    with pytest.raises(BadData, match="answer"):
        load_task(file("t.jsonl", {"prompt": "p", "choices": ["a", "b"], "answer": answer}))


@pytest.mark.parametrize(
    ("settings", "error", "field", "message"),
    [
        ("tset: t.jsonl", BadData, "", "unknown key 'tset'"),
        ("metric: numeric", BadData, "", "neither"),
        ("test: [t.jsonl]", BadData, ": test", "not a path"),
        ("test: none.jsonl", BadData, "", "no such file"),
        ("- test", BadData, "", "mapping"),
        ("test: t.jsonl\nmetric: exact_mach", UnknownName, ": metric", "exact_mach"),
        ("test: t.jsonl\nmetric: judge", UnknownName, ": metric", "not available yet"),
        ("test: t.jsonl\nmax_tokens: 0", BadParameter, ": max_tokens", "outside"),
        ("test: t.jsonl\nmax_tokens: few", BadParameter, ": max_tokens", "few"),
        ("test: t.jsonl\nstop: ['']", BadParameter, ": stop", "empty"),
        ("test: t.jsonl\nbos: 1", BadParameter, ": bos", "1"),
    ],
)
def test_bad_settings(file, settings, error, field, message):
    file("t.jsonl", ROW)
    with pytest.raises(error) as caught:
        load_task(file("task.yml", settings))
    assert caught.value.exit_code == 2 and message in str(caught.value)
    assert caught.value.field.endswith(field) and caught.value.hint


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(tmp_path, content):
    (tmp_path / "t.jsonl").write_text(content)
    with pytest.raises(BadData, match="no examples"):
        load_task(tmp_path / "t.jsonl")


def test_the_same_prompt_in_dev_and_test_is_reported(file, caplog):
    with caplog.at_level(logging.WARNING):
        load_task(file("t.jsonl", ROW | {"split": "dev"}, {"prompt": "x", "target": "y", "split": "test"}))
        assert not caplog.records
        load_task(file("t.jsonl", ROW | {"split": "dev"}, ROW | {"split": "test"}))
    assert "1 of 1 test prompts are also in dev (test lines 2)" in caplog.text


def test_a_split_without_examples_is_refused(file):
    task = load_task(file("t.jsonl", ROW | {"split": "dev"}))
    with pytest.raises(BadData, match="no test examples"):
        task.split("test")
    with pytest.raises(UnknownName, match="tset"):
        task.split("tset")
    with pytest.raises(BadData, match="too few"):
        task.split("held_out")


def dev_of(prompts_and_groups):
    dev = tuple(Example(prompt=p, target=("x",), group=g) for p, g in prompts_and_groups)
    return Task("t", "exact_match", dev, ())


@given(st.lists(st.tuples(st.text(max_size=3), st.sampled_from("abc")), max_size=40), st.integers(0, 5), st.randoms())
def test_fit_and_held_out_are_halves_that_share_no_prompt(rows, seed, random):
    prompts = {p for p, _ in rows}
    if len(prompts) < 2:
        return
    fit, held_out = dev_of(rows).fit_and_held_out(seed)
    assert sorted(map(repr, (*fit, *held_out))) == sorted(map(repr, dev_of(rows).dev))
    fit_prompts, held_prompts = {e.prompt for e in fit}, {e.prompt for e in held_out}
    assert not fit_prompts & held_prompts and 0 <= len(fit_prompts) - len(held_prompts) <= 1
    unique = list({p: (p, g) for p, g in rows}.values())
    random.shuffle(shuffled := list(unique))
    sets = [{e.prompt for e in dev_of(order).fit_and_held_out(seed)[0]} for order in (unique, shuffled)]
    assert sets[0] == sets[1]


def test_halves_are_balanced_by_group_and_follow_the_seed():
    task = dev_of([(f"{g}{i}", g) for g in "abcd" for i in range(50)])
    fit, _ = task.fit_and_held_out(0)
    assert {g: sum(e.group == g for e in fit) for g in "abcd"} == dict.fromkeys("abcd", 25)
    assert fit != task.fit_and_held_out(1)[0] and task.split("fit") == fit


def test_the_key_is_of_the_content(file, tmp_path):
    task = load_task(file("t.jsonl", ROW))
    same = load_task(file("u.jsonl", "", ROW))
    other = load_task(file("t.jsonl", ROW | {"target": "5"}))
    assert task.key == same.key != other.key and len(task.key) == 16


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_row_or_refused_by_name(line):
    try:
        example_of(parse_row(line, "f:1"), "f:1", 1)
    except ConsortError as error:
        assert error.field.startswith("f:1") and error.hint
