"""Cases from the field: what a newcomer meets (D8, D10, D12, D14), plans that attack (F1, F2, F3), G1 and G7."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import consort
from consort import lab
from consort.cli.border import run
from consort.core.errors import BadParameter, BadPlan
from consort.merge import merge
from consort.models.fake import FakeModel
from consort.plan import build, read_plan
from consort.plan.expression import parse
from consort.weights.checkpoint import Memory

ROOT = Path(__file__).parents[2]


def test_D8_a_run_folder_is_a_model(tmp_path: Path) -> None:
    words = tmp_path / "runs" / "words"
    shutil.copytree(lab.path("mirror"), words / "model")
    (words / "plan.yml").write_text("plan: lab:mirror\n")
    wanted = build(read_plan("lab:mirror")).generate(["mirror a b ="])[0].text
    assert build(read_plan(str(words))).generate(["mirror a b ="])[0].text == wanted
    shutil.rmtree(words / "model")
    assert build(read_plan(str(words))).generate(["mirror a b ="])[0].text == wanted  # a team is its plan


def test_D10_names_are_found_and_wrong_ones_say_what_is_right() -> None:
    assert {"auto", "merge", "average", "vote", "knn"} <= set(dir(consort))
    with pytest.raises(AttributeError, match=r"ties is a merge method: consort\.merge\('ties'"):
        consort.ties  # noqa: B018
    with pytest.raises(AttributeError, match="did you mean 'ties'"):
        consort.tiez  # noqa: B018
    model, base, order = consort.model("lab:base"), consort.load("lab:base"), consort.load("lab:order")
    task = consort.load_task(lab.path("tasks/skills"))
    result = consort.evaluate(model, task, limit=2)
    merged = consort.merge("linear", [base, order])
    for thing in (model, base, merged, task, result, consort.compare([result]), consort.vote([model])):
        assert "0x" not in repr(thing) and len(repr(thing)) < 200
        assert any(name in repr(thing) for name in ("base", "skills"))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: consort.merge("linear", ["lab:base", "lab:order"]), r"consort\.load\('lab:base'\)"),
        (lambda: consort.merge("linear", "lab:base"), "a list"),
        (lambda: consort.merge("ties", [consort.load("lab:order")], base="lab:base"), r"consort\.load\('lab:base'\)"),
        (lambda: consort.merge("linear", [FakeModel({}), FakeModel({})]), "consort.load"),
        (lambda: consort.vote(["lab:base"]), r"consort\.model\('lab:base'\)"),
        (lambda: consort.vote("lab:base"), "a list"),
        (lambda: consort.vote(None), "a list"),
        (lambda: consort.knn([1, 2]), "consort.model"),
        (lambda: consort.cascade({"a": FakeModel({})}), "a list"),
        (lambda: consort.vote([consort.load("lab:base")]), r"consort\.model\(checkpoint\)"),
        (lambda: consort.speculate("lab:base", FakeModel({})), r"consort\.model\('lab:base'\)"),
        (lambda: consort.evaluate(FakeModel({}), "task.jsonl"), "consort.load_task"),
        (lambda: consort.evaluate(FakeModel({}), None), "consort.load_task"),
        (lambda: consort.compare({"a": 1}), "consort.evaluate"),
        (lambda: consort.save("lab:base", "out"), r"consort\.load\('lab:base'\)"),
    ],
)
def test_D10_what_is_given_in_a_models_place_is_refused_with_what_is_right(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(BadParameter) as caught:
        call()
    assert re.search(says, str(caught.value.hint)), caught.value.hint


def test_D12_printed_commands_work_as_printed(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```(?:bash|sh|console|shell)\n(.*?)```", readme, re.DOTALL)
    assert blocks, "README prints no commands"
    words = " ".join(blocks).split()
    named = {verb for word, verb in zip(words, words[1:], strict=False) if word.endswith("consort") and verb.isalpha()}
    from consort.cli.app import app

    verbs = {c.name for c in app.registered_commands} | {g.name for g in app.registered_groups}
    assert named <= verbs
    if any("make demo" in block for block in blocks):  # which leaves the program in .venv/bin
        assert ". $(BIN)/activate" in (ROOT / "Makefile").read_text("utf-8")  # which says how to call it


def test_D14_a_plug_in_that_cannot_be_imported_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    meta = tmp_path / "broken-1.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (meta / "entry_points.txt").write_text("[consort.merge]\nmine = broken\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom consort.cli import main\nmain(['methods', 'linear'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and ran.stdout.startswith("linear (merge)")
    [line] = ran.stderr.strip().splitlines()
    assert line.startswith("warning: ") and "broken" in line


def doubling(depth: int) -> dict[str, object]:
    models: dict[str, object] = {"a0": "lab:base"}
    for i in range(depth):
        models[f"a{i + 1}"] = {"linear": {"models": [f"a{i}", f"a{i}"]}}
    return {"models": models, "plan": f"a{depth}"}


def test_F1_names_that_double_are_read_once_and_refused_where_they_grow_without_end() -> None:
    begun = time.process_time()
    assert parse(doubling(10)).root is not None
    with pytest.raises(BadPlan, match="it stands for more than 100,000 models"):
        parse(doubling(20))
    assert time.process_time() - begun < 20  # it took for ever


def test_F2_a_chain_of_5000_names_is_the_users_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models: dict[str, object] = {"a0": "lab:base"}
    models |= {f"a{i + 1}": {"linear": {"models": [f"a{i}"]}} for i in range(5000)}
    (tmp_path / "p.yml").write_text(json.dumps({"models": models, "plan": "a5000"}))
    assert run(["merge", str(tmp_path / "p.yml"), str(tmp_path / "out")]) == 2
    assert "nested too deeply" in capsys.readouterr().err


def test_F3_more_inputs_than_were_meant_are_refused_at_once() -> None:
    begun = time.process_time()
    for models in ([f"no/m{i}" for i in range(10_000)], ["lab:base"] * 10_000):
        with pytest.raises(BadPlan, match=r"plan\.linear\.models: 10,000 models are more than 1,000"):
            parse({"linear": {"models": models}})
    assert len(parse({"linear": {"models": ["lab:base"] * 1000}}).root.arguments["models"]) == 1000  # type: ignore[union-attr]
    empty = Memory({}, {})
    with pytest.raises(BadParameter, match="1,001 models are more than 1,000"):
        merge("linear", [empty] * 1001)
    assert time.process_time() - begun < 20


def test_G1_what_is_allowed_is_what_is_tested() -> None:
    """The matrix runs on the oldest allowed transformers in an environment of its own (make matrix-oldest)."""
    import transformers

    wanted = [r for r in importlib.metadata.requires("consort") or [] if r.startswith("transformers")]
    assert wanted and int(transformers.__version__.split(".")[0]) == 5
    oldest = re.search(r">=\s*(\d+(?:\.\d+)*)", wanted[0])
    assert oldest is not None
    makefile = (ROOT / "Makefile").read_text()
    tested = re.search(r"^OLDEST := (\S+)", makefile, re.MULTILINE)
    assert tested is not None
    assert [*map(int, tested[1].split("."))][: len(oldest[1].split("."))] == [*map(int, oldest[1].split("."))]
