"""consort federate as its users call it: a plan in, a folder out; wrong plans are refused with nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from consort.cli.border import run as consort
from consort.core.errors import BadData, ConsortError
from consort.federate.plan import parse_federate
from consort.federate.running import read_tokens
from consort.federate.setup import Setup
from consort.weights import open_checkpoint

ROWS = [{"prompt": f"{w} a b {c} =", "target": f"{c} b a", "group": w} for w in ("mirror", "order") for c in "cdefgh"]


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    task = [{**row, "split": "test" if i % 2 else "dev"} for i, row in enumerate(ROWS)]
    (tmp_path / "task.jsonl").write_text("\n".join(map(json.dumps, task)))
    return {
        "model": "lab:base",
        "data": str(tmp_path / "rows.jsonl"),
        "clients": ["ann", "bob"],
        "split": "by_key",
        "trainable": {"rank": 2},
        "train": {"steps": 1, "batch": 4, "lr": 1e-3},
        "rounds": {"rounds": 1},
        "task": str(tmp_path / "task.jsonl"),
    }


def written(tmp_path, document, name="plan.yml") -> str:
    (tmp_path / name).write_text(yaml.safe_dump(document))
    return str(tmp_path / name)


def test_a_plan_ends_in_an_adapter_with_baselines_and_a_report(plan, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert consort(["federate", written(tmp_path, {**plan, "aggregator": "svd_lora"}), str(out)]) == 0
    shown = capsys.readouterr()
    for name in ("federated", "base", "alone: ann", "alone: bob", "centralised", "fedavg", "merge of finals"):
        assert name in shown.out
    found = json.loads((out / "results.json").read_text())
    assert found["verb"] == "federate" and len(found["test"]) == 7
    assert found["details"]["federation"]["rounds"][0]["clients"] == ["ann", "bob"]
    assert "Rounds of the federation" in (out / "report.html").read_text()
    assert open_checkpoint(out / "model", base=open_checkpoint(_lab("base"))).keys()
    more = {**plan, "aggregator": "svd_lora", "rounds": {"rounds": 2}, "baselines": False}
    assert consort(["federate", "run", written(tmp_path, more), str(out), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["details"]["federation"]["rounds"]
    assert len(again) == 2 and again[0] == found["details"]["federation"]["rounds"][0]
    other = {**more, "train": {"steps": 2, "batch": 4, "lr": 1e-3}}
    assert consort(["federate", written(tmp_path, other), str(out)]) == 2
    assert "holds another run" in capsys.readouterr().err


def _lab(name):
    from consort.lab import path

    return path(name)


WRONG = {
    "unknown key": ({"agregator": "fedavg"}, "did you mean 'aggregator'"),
    "unknown rule": ({"aggregator": "fedavgg"}, "fedavg"),
    "range": ({"rounds": {"rounds": 0}}, "rounds"),
    "no data": ({"data": None}, "one source of data"),
    "no file": ({"data": "nowhere.jsonl"}, "no such file"),
    "no clients": ({"clients": 0}, "0 are no clients"),
    "flower": ({"data": None, "where": "flower"}, "are Flower's"),
    "names": ({"clients": ["../x", "b"]}, "cannot be a client's name"),
    "twice": ({"clients": ["a", "a"]}, "named twice"),
    "too many": ({"clients": 3}, "3 clients for 2 labels"),
    "secure median": ({"aggregator": "median", "secure": {}}, "own update"),
    "factors of a prompt": ({"aggregator": "svd_lora", "trainable": {"what": "prompt"}}, "both LoRA factors"),
    "http with data": ({"where": "http", "serve": {"tokens": "t"}}, "sees no data"),
    "mapping": ({"train": 3}, "is not a mapping"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_plans_are_refused_and_leave_nothing(wrong, plan, tmp_path, capsys) -> None:
    change, said = WRONG[wrong]
    assert consort(["federate", written(tmp_path, {**plan, **change}), str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line.split(":")[0] for line in lines[-2:]] == ["error", "hint"] and said in "\n".join(lines)
    assert not (tmp_path / "out").exists()


def test_a_plan_is_read_back(plan) -> None:
    checked = parse_federate({**plan, "privacy": {"z": 1.0, "clip": 0.5}})
    assert parse_federate(checked.to_json()) == checked
    assert Setup(checked).fixed and Setup(checked).privacy.z == 1.0
    with pytest.raises(ConsortError, match="2 faults"):
        Setup(parse_federate({**plan, "trainer": "sftt", "train": {"lr": -1}}))


def test_tokens_are_read_from_a_file_of_ones_own(tmp_path) -> None:
    file = tmp_path / "tokens"
    file.write_text("ann 0123456789abcdef-secret\nbob fedcba9876543210-secret\n")
    file.chmod(0o644)
    with pytest.raises(BadData, match="others can read"):
        read_tokens(file, ["ann"])
    file.chmod(0o600)
    assert read_tokens(file, ["ann"]) == {"ann": "0123456789abcdef-secret"}
    with pytest.raises(BadData, match="no token for eve") as caught:
        read_tokens(file, ["eve"])
    assert "secret" not in str(caught.value)
    with pytest.raises(BadData, match="no such file"):
        read_tokens(tmp_path / "none", ["ann"])


def test_joining_without_a_token(capsys, monkeypatch) -> None:
    monkeypatch.delenv("CONSORT_TOKEN", raising=False)
    assert consort(["federate", "join", "http://127.0.0.1:9", "--data", "x.jsonl"]) == 2
    assert "no token" in capsys.readouterr().err
    monkeypatch.setenv("CONSORT_TOKEN", "0123456789abcdef")
    assert consort(["federate", "join", "http://127.0.0.1:9", "--data", "x.jsonl"]) == 2
    assert "x.jsonl: no such file" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_come_to_the_same_bits(plan, tmp_path) -> None:
    """Each client a process of its own, over HTTP."""
    hashes = []
    for where in ("here", "processes"):
        document = {**plan, "where": where, "baselines": False, "task": None, "rounds": {"rounds": 2}}
        command = [sys.executable, "-m", "consort", "federate", written(tmp_path, document), str(tmp_path / where)]
        subprocess.run(command, check=True, env={**os.environ}, timeout=900)
        hashes.append(json.loads((tmp_path / where / "results.json").read_text())["details"]["federation"]["hash"])
    assert hashes[0] == hashes[1]
