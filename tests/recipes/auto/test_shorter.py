"""The stage of shorter prompts: it is silent where prompts are short, and tries baselines beside what is clever."""

from __future__ import annotations

import json

import pytest

from consort.recipes.auto.run import auto
from consort.recipes.auto.stages import shorter


@pytest.mark.parametrize("long, behind", [(40, {"bm25", "first", "last"}), (600, set())])
def test_long_prompts_are_tried_behind_compressors(tmp_path, monkeypatch, long, behind):
    monkeypatch.setattr(shorter, "LONG", long)
    lines = [
        {"prompt": "echo :", "context": ["a b c d e f g h " * 2 + letter, "a b c"], "target": "a", "split": split}
        for split, letters in (("dev", "abcdefgh"), ("test", "ijkl"))
        for letter in letters
    ]
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps(line) + "\n" for line in lines))
    auto(["lab:target", "lab:draft"], task=task, out=tmp_path / "out", budget=30)
    tried = [one["name"] for one in json.loads((tmp_path / "out/results.json").read_text())["candidates"]]
    assert {name.rpartition(" ")[2] for name in tried if " behind " in name} == behind
