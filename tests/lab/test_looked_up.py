"""Facts that are in no model but in an index: a small model with a retriever, and a cascade to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import consort
from consort import lab
from consort.cooperate.retrieve import Augmented
from consort.cooperate.retrieve.retrievers.bm25 import Bm25
from consort.core.types import Sampling
from consort.knowledge.build import Settings, build
from consort.lab.facts import table
from consort.lab.looked_up import TEMPLATE, facts_to_look_up, train_reader, write_documents, write_task


def test_what_is_to_be_looked_up_is_in_no_model(tmp_path: Path) -> None:
    known = {fact.country for fact in table(0)}
    hidden = facts_to_look_up(0)
    assert len(hidden) > 150
    assert not known & {fact.country for fact in hidden}
    write_documents(tmp_path / "facts.jsonl", 0)
    write_task(tmp_path / "task.jsonl", 0)
    index = build([tmp_path / "facts.jsonl"], tmp_path / "index", settings=Settings(length=0))
    rows = [json.loads(line) for line in (tmp_path / "task.jsonl").read_text().splitlines()]
    found = Bm25(index=index).search([row["prompt"] for row in rows], 1)
    assert all(hits[0].text.endswith(f" {row['target']}") for hits, row in zip(found, rows, strict=True))
    assert {row["split"] for row in rows} == {"dev", "test"}


@pytest.mark.slow
def test_a_retriever_beats_every_single_model_and_a_cascade_to_it_is_cheaper(tmp_path: Path) -> None:
    train_reader(tmp_path / "reader", 0, lambda *told: None)
    write_documents(tmp_path / "facts.jsonl", 0)
    write_task(tmp_path / "task.jsonl", 0)
    index = build([tmp_path / "facts.jsonl"], tmp_path / "index", settings=Settings(length=0))
    rows = [json.loads(line) for line in (tmp_path / "task.jsonl").read_text().splitlines()]
    test = [row for row in rows if row["split"] == "test"]

    def measured(system) -> tuple[float, float]:
        answers = system.generate([row["prompt"] for row in test], Sampling(max_tokens=2))
        right = [answer.text.strip() == row["target"] for answer, row in zip(answers, test, strict=True)]
        tokens = sum(usage.total_tokens for answer in answers for usage in answer.cost.values())
        return sum(right) / len(test), tokens / len(test)

    reader = consort.model(tmp_path / "reader")
    looked = Augmented(reader, Bm25(index=index), k=1, quote="plain", template=TEMPLATE)
    singles = [measured(model)[0] for model in (reader, *map(consort.model, _facts_of_the_lab()))]
    score, tokens = measured(looked)
    assert score >= max(singles) + 0.30
    cascaded, fewer = measured(consort.cascade([reader, looked], threshold=0.7))
    assert cascaded >= score - 0.05
    assert fewer < tokens
    routed, less = measured(consort.model(_fitted_router(tmp_path, index)))
    print(f"singles {singles}, looked up {score} {tokens}, cascade {cascaded} {fewer}, router {routed} {less}")
    assert routed >= max(singles) + 0.30
    assert less <= tokens


def _fitted_router(folder: Path, index: Path) -> Path:
    """The plan that `consort fit` writes for a router by knowledge, on the dev half of the task."""
    (folder / "task.yml").write_text("dev: task.jsonl\ntest: task.jsonl\nmetric: exact_match\nmax_tokens: 2\n")
    looked = {"retriever": {"bm25": {"index": str(index)}}, "k": 1, "quote": "plain", "template": TEMPLATE}
    models = [str(folder / "reader"), {"augmented": {"model": str(folder / "reader"), **looked}}]
    features = {"evidence": {"retriever": {"bm25": {"index": str(index)}}}}
    (folder / "router.yml").write_text(json.dumps({"ridge": {"models": models, "features": features}}))
    verb = [sys.executable, "-m", "consort", "fit", "router.yml", "routed", "--task", "task.yml"]
    subprocess.run(verb, cwd=folder, check=True, capture_output=True)
    return folder / "routed" / "plan.yml"


def _facts_of_the_lab() -> list[str]:
    """The models of the lab that were taught facts."""
    names = ("teacher-north", "teacher-south", "pivot")
    assert all(Path(lab.path(name)).is_dir() for name in names)
    return [f"lab:{name}" for name in names]
