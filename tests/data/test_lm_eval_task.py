"""Tasks of lm-eval: what is read by it, and what is refused, where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consort.core.errors import BadData, ConsortError, MissingExtra, UnknownName, Unsupported
from consort.data import lm_eval_task as module
from consort.evaluate import evaluate
from consort.models.fake import FakeModel
from consort.plan.references import open_task

ROWS = [{"q": f"{i}+1=", "a": str(i + 1), "c": [str(i + 1), str(i)], "l": 0} for i in range(10)]


def task(folder: Path, kind: str, **settings: object) -> str:
    """A task of one's own with local data."""
    (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    told = {
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "d.jsonl")}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "output_type": kind,
        "doc_to_text": "{{q}}",
        **settings,
    }
    (folder / "mine.yaml").write_text(json.dumps(told))
    return f"lm-eval:{folder / 'mine.yaml'}"


CHOICE = {"doc_to_target": "l", "doc_to_choice": "c", "metric_list": [{"metric": "acc"}]}
MATCH = {"doc_to_target": "{{a}}", "generation_kwargs": {"until": ["\n"], "max_gen_toks": 5}}
EXACT = {"metric_list": [{"metric": "exact_match"}]}


def test_without_lm_eval_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", absent)
    with pytest.raises(MissingExtra, match="lm-eval is not installed"):
        open_task("lm-eval:arc_easy")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'consort[eval]'")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


@pytest.mark.usefixtures("installed")
@pytest.mark.filterwarnings("ignore")
def test_choices_and_answers_are_those_of_lm_eval(tmp_path: Path) -> None:
    found = open_task(task(tmp_path, "multiple_choice", **CHOICE))
    assert found.metric == "choice" and len(found.dev) + len(found.test) == 10
    example = (*found.dev, *found.test)[0]
    assert example.prompt is not None
    right = str(int(example.prompt.partition("+")[0]) + 1)
    assert example.choices[0] == f" {right}" and example.answer == 0
    found = open_task(task(tmp_path, "generate_until", **MATCH, **EXACT))
    assert (found.metric, found.options.stop, found.options.max_tokens) == ("exact_match", ("\n",), 5)
    answers = {row["q"]: str(row["a"]) for row in ROWS}
    assert evaluate(FakeModel(answers), found, split="test").score == 1


@pytest.mark.usefixtures("installed")
@pytest.mark.filterwarnings("ignore")
def test_what_would_be_graded_otherwise_is_refused(tmp_path: Path) -> None:
    filters = [{"name": "x", "filter": [{"function": "regex", "regex_pattern": "(\\d)"}, {"function": "take_first"}]}]
    for wrong, says in (
        ({**EXACT, "filter_list": filters}, "changes answers by regex"),
        ({"metric_list": [{"metric": "exact_match", "ignore_case": True}]}, "exact_match with ignore_case"),
        ({"metric_list": [{"metric": "bleu"}]}, "grades by bleu"),
    ):
        with pytest.raises(Unsupported, match=says) as refused:
            open_task(task(tmp_path, "generate_until", **MATCH, **wrong))
        assert refused.value.hint is not None and "consort.evaluate.lm_eval" in refused.value.hint
    with pytest.raises(UnknownName, match="lm-eval has no task 'nothing_of_it'"):
        open_task("lm-eval:nothing_of_it")
    reference = task(tmp_path, "multiple_choice", **{**CHOICE, "doc_to_choice": "{{nothing}}"})
    with pytest.raises(ConsortError, match="lm-eval"):
        open_task(reference)
    (tmp_path / "mine.yaml").write_text("task: mine\ndoc_to_text: !function mine.text\n")
    with pytest.raises(BadData, match="the task runs code of its own"):
        open_task(reference)
