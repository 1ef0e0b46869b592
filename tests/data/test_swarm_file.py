"""The evaluation files of Model Swarms: what they become, what is refused, and the published ones."""

from __future__ import annotations

import json

import pytest

from consort.core.errors import BadData
from consort.data.task import Options, load_task

QUESTION = {"question": "Sky?", "choices": {"A": "red", "B": "blue"}, "answer": "B", "domain": "air", "id": 3}
SIZES = {"mmlu": (200, 1000), "stem": (30, 473), "hearsay": (94, 94), "normad_value": (500, 2000), "rm": (200, 550)}


@pytest.fixture
def file(tmp_path):
    def write(document):
        (tmp_path / "f.json").write_text(document if isinstance(document, str) else json.dumps(document))
        return tmp_path / "f.json"

    return write


def test_choices_are_shown_by_letter(file):
    task = load_task(file({"dataset": "x", "dev": [QUESTION], "test": [], "icl_prompt": "First."}))
    (example,) = task.dev
    assert example.prompt == "First.\n\nQuestion: Sky?\nA: red\nB: blue\nThe answer is"
    assert (example.choices, example.answer, example.group) == (("red", "blue"), 1, "air")
    assert (task.name, task.metric, task.options) == ("f", "multiple_choice", Options(max_tokens=10))


def test_answers_and_prompts(file):
    entry = {"question": "2 + 2?", "answer": "4"}
    task = load_task(file({"dataset": "GSM8k", "dev": [], "test": [entry]}))
    assert (task.metric, task.options) == ("contains", Options(max_tokens=200))
    assert task.metric_options == {"last_words": 5}
    assert (task.test[0].prompt, task.test[0].target) == ("2 + 2?", ("4",))
    assert load_task(file({"dataset": "NLGraph", "dev": [entry]})).options == Options(max_tokens=10)
    prompts = load_task(file({"dataset": "rm", "dev": [{"prompt": "Hello", "id": 0}]}))
    assert (prompts.metric, prompts.options.max_tokens) == ("quality", 200)


def test_a_json_file_of_one_object_a_line_stays_what_it_was(file):
    assert load_task(file('{"prompt": "p", "target": "t"}\n{"prompt": "q", "target": "t"}\n')).metric == "exact_match"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"dev": {}}, "not a list"),
        ({"dev": []}, "no examples"),
        ({"dev": [3]}, "not an object"),
        ({"dev": [{"answer": "A"}]}, "no question"),
        ({"dev": [{"question": "q"}]}, "no prompt"),
        ({"dev": [QUESTION | {"answer": "C"}]}, "no option"),
        ({"dev": [QUESTION | {"choices": ["red", "blue"]}]}, "no option"),
        ({"dev": [QUESTION | {"choices": {"A": "red"}, "answer": "A"}]}, "choices"),
        ({"dev": [QUESTION, {"prompt": "p"}]}, "another kind"),
        ({"dev": [{"prompt": "p", "target": "t"}]}, "target"),
        ({"dev": [QUESTION], "icl_prompt": 3}, "not a text"),
        ('{"dev": [', "not JSON"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(file, document, says):
    with pytest.raises(BadData, match=says) as caught:
        load_task(file(document))
    assert "f.json" in caught.value.field and caught.value.hint


def test_the_published_files_load(shared):
    folder = shared / "data" / "eval" / "model_swarms"
    if not folder.is_dir():
        pytest.skip("the evaluation files of Model Swarms are not here")
    for name, sizes in SIZES.items():
        task = load_task(folder / f"{name}.json")
        assert (len(task.dev), len(task.test)) == sizes
