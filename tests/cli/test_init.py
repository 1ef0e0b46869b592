"""`consort init` and the completion of a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consort.data import load_task
from consort.plan import read_plan


@pytest.mark.parametrize(
    ("models", "plan"),
    [
        (["lab:base", "lab:mirror", "lab:order"], "ties"),
        (["lab:mirror", "lab:order"], "linear"),
        (["lab:base", "lab:b-base"], "vote"),
        (["lab:base"], "base"),
    ],
)
def test_a_task_and_a_plan_to_begin_with(models: list[str], plan: str, tmp_path: Path, consort: Any) -> None:
    shown = consort("init", *models, "--out", tmp_path, "--json")
    assert shown.code == 0, shown.err
    made = json.loads(shown.out)
    assert plan in json.dumps(made["plan"]["plan"])
    assert read_plan(tmp_path / "plan.yml").root is not None
    task = load_task(tmp_path / "task.yml")
    assert (task.metric, len(task.dev), len(task.test)) == ("exact_match", 4, 2)
    assert [command.split()[1] for command in made["next"]] == ["eval", "auto"]
    again = consort("init", *models, "--out", tmp_path)
    assert again.code == 2 and "exists" in again.err and "--force" in again.err


def test_the_command_it_prints_runs(tmp_path: Path, consort: Any) -> None:
    shown = consort("init", "lab:base", "lab:b-base", "--out", tmp_path)
    [command, _] = shown.out.strip().splitlines()
    ran = consort(*command.split()[1:], "--json")
    assert ran.code == 0, ran.err
    assert str(tmp_path / "plan.yml") in ran.out and "lab:b-base" in ran.out


def test_a_shell_completes_verbs_and_options_without_anything_heavy() -> None:
    code = "import sys\nfrom consort.cli import main\n"
    code += "try: main([])\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    for words, place, wanted in (("consort gene", 1, "generate"), ("consort generate --device-m", 2, "--device-map")):
        asked = {"_CONSORT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(place)}
        ran = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=False
        )
        assert ran.stdout.split() == [wanted] and ran.stderr.strip() == "False"
