"""A merge in parts, joined to the bytes of one run."""

from __future__ import annotations

import shutil

import pytest

from consort.cli import main

PLAN = "ties:\n  models: [lab:mirror, lab:order]\n  base: lab:base\n  density: 0.4\n"


@pytest.fixture
def run(tmp_path, capsys):
    (tmp_path / "plan.yml").write_text(PLAN)

    def call(*arguments, plan="plan.yml"):
        try:
            code = main(["merge", str(tmp_path / plan), str(tmp_path / "out"), *arguments])
        except SystemExit as ended:
            code = ended.code
        return code or 0, capsys.readouterr().err

    return call


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_parts_join_to_the_bytes_of_one_run(run, tmp_path):
    assert run()[0] == 0
    whole = content(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    for number in (2, 3, 1):
        assert run("--part", f"{number}/3")[0] == 0
    sizes = [(tmp_path / f"out.part-{i}-of-3" / "model.safetensors").stat().st_size for i in (1, 2, 3)]
    assert max(sizes) < 2 * min(sizes) and not (tmp_path / "out").exists()
    assert run("--join")[0] == 0
    joined = content(tmp_path / "out")
    assert {name for name in whole if whole[name] != joined[name]} == set()
    assert whole.keys() == joined.keys()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--part", "4/3"), "is no part"),
        (("--part", "0/3"), "is no part"),
        (("--part", "x"), "is no part"),
        (("--part", "1/2", "--join"), "cannot be both"),
        (("--join",), "no part beside"),
    ],
)
def test_what_is_refused(run, tmp_path, arguments, said):
    code, err = run(*arguments)
    assert code == 2 and said in err and "hint:" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.yml"]


def test_missing_parts_and_parts_of_other_work(run, tmp_path):
    run("--part", "1/2")
    assert "part 2 of 2 is missing" in run("--join")[1]
    (tmp_path / "other.yml").write_text(PLAN.replace("0.4", "0.5"))
    run("--part", "2/2", plan="other.yml")
    code, err = run("--join")
    assert code == 2 and "other work" in err and not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path / "out.part-2-of-2")
    run("--part", "2/2")
    assert run("--join")[0] == 0
    shutil.rmtree(tmp_path / "out")
    run("--part", "1/3")
    assert "different counts" in run("--join")[1]
