"""Cases from the field about what a terminal shows: D3, F4, and F8, errors told before anything heavy is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from consort.cli import output
from consort.cli.border import run
from consort.core.visible import visible
from consort.plan.references import label_of

STRANGE = "\x1b[31mred\x07\u202eturned\x9b1m"
SHOWN = r"\x1b[31mred\x07\u202eturned\x9b1m"
IMPORTS = """
import sys
from consort.cli.border import run
code = run(sys.argv[1:])
heavy = sorted({"torch", "transformers", "scipy", "sklearn"} & set(sys.modules))
print("HEAVY", *heavy, file=sys.stderr)
sys.exit(code)
"""


def program(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", IMPORTS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment}, timeout=120, check=False)


def test_D3_what_was_computed_is_not_lost_to_an_encoding(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"prompt": "twice: ab =", "target": "a a", "split": "test"}) + "\n")
    model = tmp_path / "модель–1"
    model.symlink_to(os.path.realpath(Path(__file__).parents[2] / "src" / "consort" / "lab" / "zoo" / "base"))
    if not model.is_dir():
        pytest.skip("the lab lies elsewhere")
    ran = program("eval", model, "--task", tmp_path / "t.jsonl", PYTHONIOENCODING="latin-1")
    assert ran.returncode == 0, ran.stderr
    assert rb"\u2013" in ran.stdout


def test_F4_errors_show_what_is_strange(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / f"model{STRANGE}"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    save_file({f"a{STRANGE}": torch.zeros(2, 2)}, folder / "model.safetensors")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "llama"}')
    save_file({"a": torch.zeros(2, 2)}, other / "model.safetensors")
    (tmp_path / "p.yml").write_text(json.dumps({"linear": {"models": [str(folder), str(other)]}}))
    for command in (
        ["merge", tmp_path / "p.yml", tmp_path / "out"],
        ["merge", tmp_path / "p.yml", tmp_path / "out", "--json"],
        ["generate", tmp_path / f"none{STRANGE}", "hi"],
        ["eval", "lab:base", "--task", tmp_path / f"{STRANGE}.jsonl"],
        ["methods", STRANGE],
        ["generate", "lab:base", "--wrong" + STRANGE],
    ):
        assert run([str(word) for word in command]) == 2, command
        shown = capsys.readouterr()
        assert shown.err == visible(shown.err) and "red" in shown.err, command
        assert not shown.out


def test_F4_tables_notes_labels_and_documents(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output.print_table([STRANGE, "b"], [[STRANGE, "1"]], title=STRANGE)
    output.note(STRANGE)
    shown = capsys.readouterr()
    assert shown.out.count(SHOWN) == 3 and shown.err == f"{SHOWN}\n"
    output.print_json({STRANGE: STRANGE})
    written = capsys.readouterr().out
    assert written == visible(written) and json.loads(written) == {STRANGE: STRANGE}
    assert label_of(f"/models/{STRANGE}") == SHOWN
    output.result(STRANGE)
    assert capsys.readouterr().out == f"{STRANGE}\n"  # to a file or a program as it is
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    output.result(STRANGE)
    assert capsys.readouterr().out == f"{SHOWN}\n"


WRONG = {
    "no folder": ["generate", "no/such/folder", "hi"],
    "no task": ["eval", "lab:base", "--task", "none.jsonl"],
    "no plan": ["merge", "none.yml", "OUT"],
    "no name": ["merge", "unknown.yml", "OUT"],
    "no input": ["merge", "absent.yml", "OUT"],
    "no config": ["merge", "empty.yml", "OUT"],
    "pickles": ["generate", "pickles", "hi"],
    "bad config": ["generate", "badconfig", "hi"],
    "bad header": ["merge", "header.yml", "OUT"],
    "no prompts": ["generate", "lab:base", "--prompts", "none.jsonl"],
    "no pairs": ["score", "lab:base", "--pairs", "none.jsonl"],
    "auto, no model": ["auto", "lab:base", "no/such", "--task", "lab:tasks/skills", "--out", "OUT"],
    "auto, no task": ["auto", "lab:base", "--task", "none.jsonl", "--out", "OUT"],
    "search": ["search", "none.yml", "--task", "lab:tasks/skills", "--out", "OUT"],
    "search, no model": ["search", "search.yml", "--task", "lab:tasks/skills", "--out", "OUT"],
    "fit": ["fit", "absent.yml", "OUT", "--task", "lab:tasks/skills"],
    "collect": ["collect", "fisher", "no/such", "--texts", "none.jsonl", "--out", "OUT"],
    "zoo": ["zoo", "similarity", "lab:base", "no/such"],
    "serve": ["serve", "lab:base", "no/such"],
    "served plan": ["serve", "team=absent.yml"],
    "init": ["init", "no/such", "--out", "OUT"],
    "federate": ["federate", "none.yml", "OUT"],
    "index": ["index", "no/such", "OUT"],
    "compress": ["compress", "none.txt", "--budget", "3"],
    "dtype": ["generate", "lab:base", "hi", "--dtype", "half"],
}


@pytest.mark.parametrize("case", WRONG)
def test_F8_what_paths_and_headers_show_is_refused_before_torch(case: str, tmp_path: Path) -> None:
    (tmp_path / "unknown.yml").write_text("lineal: {models: [a, b]}")
    (tmp_path / "absent.yml").write_text("linear: {models: [no/a, no/b]}")
    (tmp_path / "search.yml").write_text(
        "search: {optimizer: pso, space: {linear: {models: [no/a, no/b], weight: {free: [0, 1]}}}}"
    )
    (tmp_path / "badconfig").mkdir()
    (tmp_path / "badconfig" / "config.json").write_text("{")
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pickles" / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "header").mkdir()
    (tmp_path / "header" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "header" / "model.safetensors").write_bytes(b"\xff" * 64)
    (tmp_path / "empty").mkdir()
    for name in ("empty", "header"):
        (tmp_path / f"{name}.yml").write_text(f"linear: {{models: [{tmp_path / name}, lab:base]}}")
    words = [str(tmp_path / w) if (tmp_path / w).exists() or w == "OUT" else w for w in WRONG[case]]
    ran = program(*words)
    lines = ran.stderr.decode().strip().splitlines()
    assert ran.returncode == 2 and [line.split(":")[0] for line in lines[:2]] == ["error", "hint"], lines
    assert lines[-1] == "HEAVY", lines
    assert not (tmp_path / "OUT").exists()
