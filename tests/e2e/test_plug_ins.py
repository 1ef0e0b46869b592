"""An installed distribution with one new thing of each kind, each one file: listed, lawful, and usable in plans."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from consort.testing.router_laws import observed

FILES = Path(__file__).parent / "plug_in"
KINDS = {
    "halfway": "merge",
    "word_count": "router",
    "middle": "answer",
    "geometric": "ensemble",
    "echo": "drafter",
    "near_miss": "metric",
    "brevity": "utility",
    "segment": "space",
    "closing_in": "optimizer",
    "first_token": "confidence",
    "letters": "features",
}


def installed(site: Path, distribution: str, modules: dict[str, str]) -> None:
    """What an installer leaves: a dist-info whose entry points name modules (module -> kind)."""
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    groups: dict[str, list[str]] = {}
    for module, kind in modules.items():
        groups.setdefault(f"consort.{kind}", []).append(f"{module.rpartition('.')[2]} = {module}")
    text = "\n".join(f"[{group}]\n" + "\n".join(lines) for group, lines in groups.items())
    (info / "entry_points.txt").write_text(text + "\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The eleven files as they stand, in a package without `__init__.py`."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(FILES, site / "musicians", ignore=shutil.ignore_patterns("__pycache__"))
    installed(site, "broken-consort", {f"musicians.{name}": kind for name, kind in KINDS.items()})
    return site


def python(site, *arguments, code=0, cwd=None):
    paths = [str(site), str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    shown = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=cwd)
    assert shown.returncode == code, shown.stdout[-2000:] + shown.stderr[-2000:]
    return shown


def consort(site, *arguments, code=0, cwd=None):
    return python(site, "-m", "consort", *map(str, arguments), code=code, cwd=cwd)


def test_every_kind_is_one_file_each():
    assert {file.stem for file in FILES.glob("*.py")} == set(KINDS)


def test_they_are_listed_and_nothing_of_them_is_imported(site):
    code = (
        "import sys; from consort.cli.border import run; run(['methods', '--json']);"
        "print([m for m in sys.modules if m.startswith('musicians') or m == 'torch'], file=sys.stderr)"
    )
    shown = python(site, "-c", code)
    rows = {row["name"]: row for row in json.loads(shown.stdout) if row["from"] == "broken-consort"}
    assert {name: row["kind"] for name, row in rows.items()} == KINDS
    assert rows["near_miss"]["parameters"][0]["type"] == "float in [0, 100]"
    assert shown.stderr.strip() == "[]"
    assert {row["from"] for row in json.loads(shown.stdout)} == {"broken-consort", "consort"}


def test_they_pass_the_laws_of_their_kinds(site):
    verdicts = json.loads(consort(site, "laws", *KINDS, "--json").stdout)
    assert [v for v in verdicts if v["state"] == "broken"] == []
    held = {name: [v["law"] for v in verdicts if v["name"] == name and v["state"] == "ok"] for name in KINDS}
    assert all(len(laws) >= 6 for laws in held.values()), {name: len(laws) for name, laws in held.items()}


PLANS = {
    "halfway": "halfway: {models: [lab:mirror, lab:order], scale: 1.0}",
    "word_count": "word_count: {strong: lab:mirror, weak: lab:order, threshold: 3}",
    "middle": "middle: {models: [lab:mirror, lab:order]}",
    "geometric": "geometric: {models: [lab:mirror, lab:order]}",
    "echo": "speculate: {target: lab:mirror, drafter: {echo: {times: 3}}}",
    "first_token": "cascade: {models: [lab:mirror, lab:order], threshold: 0.5, confidence: first_token}",
}


def test_they_work_in_plans(site, tmp_path):
    """All verbs in one program, as it takes long to start."""
    verbs = []
    for name, plan in PLANS.items():
        (tmp_path / f"{name}.yml").write_text(plan)
        verbs.append(["generate", f"{name}.yml", "mirror a b c =", "--json"])
    verbs.append(["merge", "halfway.yml", "merged"])
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"{i} + 1 =", "target": str(i + 1), "split": s}) + "\n"
                for i in range(4) for s in ("dev", "test"))
    )  # fmt: skip
    (tmp_path / "task.yml").write_text("dev: rows.jsonl\ntest: rows.jsonl\nmetric: {near_miss: {within: 100}}\n")
    verbs.append(["eval", "lab:mirror", "--task", "task.yml", "--json"])
    (tmp_path / "search.yml").write_text(
        "search: {optimizer: {closing_in: {rounds: 2, points: 2}}, utility: {brevity: {most: 40}}, "
        "space: {segment: {models: [lab:mirror, lab:order]}}}"
    )
    verbs.append(["search", "search.yml", "--task", "task.yml", "--out", "found", "--limit", "2", "--json"])
    data = observed()
    rows = [
        {"prompt": p, "scores": dict(zip(data.models, q, strict=True)), "split": "dev" if i % 2 else "test"}
        for i, (p, q) in enumerate(zip(data.prompts, data.quality.tolist(), strict=True))
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "letters.yml").write_text(
        "knn: {models: ['table:t.jsonl#m0', 'table:t.jsonl#m1'], k: 3, features: letters}"
    )
    verbs.append(["fit", "letters.yml", "fitted", "--table", "t.jsonl", "--json"])
    code = (
        "import json; from consort.cli.border import run\n"
        f"for verb in json.loads({json.dumps(verbs)!r}):\n"
        "    print('|||', verb[1], run(verb), flush=True)"
    )
    shown = python(site, "-c", code, cwd=tmp_path)
    ended = [part.splitlines()[0].split() for part in shown.stdout.split("||| ")[1:]]
    assert ended == [[verb[1], "0"] for verb in verbs], shown
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    assert json.loads((tmp_path / "found" / "results.json").read_text())
    assert "letters" in (tmp_path / "fitted" / "plan.yml").read_text()
