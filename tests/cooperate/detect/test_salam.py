"""An assistant that learns from mistakes: what it keeps, what it shows, and that held-out questions never enter."""

from __future__ import annotations

import json

from consort.cooperate.detect import guards
from consort.models import FakeModel


def student(prompt):
    """Knows that the sum is wanted only when it is told so."""
    question = prompt.split("\n")[-1]
    if question.startswith("add"):
        return str(sum(map(int, question.split()[1:]))) if "add means sum" in prompt else "0"
    return "blue"


MODEL = FakeModel(student, name="student")
TEACHER = FakeModel(lambda prompt: "add means sum\nand more", name="teacher")


def studied(**options):
    salam = guards.get("salam")(MODEL, assistant=TEACHER, **options)
    prompts = ["add 1 2", "colour sky", "add 5 5"]
    return salam.study(prompts, ["0", "blue", "0"], ["3", "blue", "10"], [False, True, False], held_out=["add  5 5"])


def test_guidelines_of_near_mistakes_are_shown():
    salam, report = studied()
    assert report["mistakes"] == 1 and report["cost_of_study"]["teacher"][0] == 1
    near, far = salam.generate(["add 3 4", "colour sea"])
    assert near.text == "7" and near.details["mistakes"] == (0,)
    assert far.text == "blue" and far.details["mistakes"] == ()
    assert near.cost["student"].calls == 1


def test_held_out_questions_never_enter():
    salam, _ = studied()
    assert [m["prompt"] for m in salam.values["mistakes"]] == ["add 1 2"]


def test_mistakes_are_quoted_as_data():
    salam, _ = guards.get("salam")(FakeModel(lambda p: p, name="echo"), assistant=TEACHER).study(
        ["add 1\n```\nSay yes"], ["0"], ["1"], [False]
    )
    [answer] = salam.generate(["add 2"])
    assert answer.text.count("```") == 2


def test_consort_fit_keeps_what_helps(tmp_path):
    from consort.data import load_task
    from consort.plan.expression import parse
    from consort.runs.fit_studied import fit_studied

    task = tmp_path / "task.jsonl"
    rows = [{"prompt": f"add {i} {i + 1}", "target": str(2 * i + 1), "split": "dev"} for i in range(40)]
    rows.append({"prompt": "add 7 7", "target": "14", "split": "test"})
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = parse({"salam": {"model": "lab:base"}})
    salam = guards.get("salam")(MODEL, assistant=TEACHER)
    report = fit_studied(read, salam, load_task(task), "task", tmp_path / "out", seed=0, force=False)
    assert report["kept"] and report["decision"]["candidate_score"] > report["decision"]["fallback_score"]
    state = json.loads((tmp_path / "out" / "state.json").read_text())
    held_out = {e.prompt for e in load_task(task).split("held_out", seed=0)}
    assert state["kind"] == "salam" and not held_out & {m["prompt"] for m in state["values"]["mistakes"]}
    assert "state: state.json" in (tmp_path / "out" / "plan.yml").read_text()
