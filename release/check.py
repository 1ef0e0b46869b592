"""Build what is released, and try it where nothing of the checkout is: sizes, contents, fresh environments, parts.

    python release/check.py [--keep]

In `build/release`: an environment that builds, one with the wheel and all it needs, one with what a merge imports.
Options of pip are taken from its own variables (PIP_CONSTRAINT, PIP_EXTRA_INDEX_URL) and TORCH_INDEX. The figures
go to `dist/release.json`, the parts list beside it. Standard library only. Exit code 1 where something is not right.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD, DIST = ROOT / "build" / "release", ROOT / "dist"
MOST_WHEEL = 60_000_000
MERGE_NEEDS = ("jaxtyping", "numpy", "pydantic>=2", "pyyaml", "torch>=2.6", "typer")
"""What a merge imports; `test_a_merge_imports_these_alone` compares it."""
MERGE = "linear: {models: [lab:mirror, lab:order]}\n"
MOST_MERGE_S = 10.0
"""Seconds of the processor."""


def run(*command: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A command outside the checkout, which must succeed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment = {**kept, "HF_HUB_OFFLINE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **more}
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done


def environment(name: str, *needs: str, alone: str = "") -> Path:
    """A fresh environment with some packages; `alone` is installed without what it needs. Returns its programs."""
    folder = BUILD / name
    venv.create(folder, with_pip=True, clear=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    index = os.environ.get("TORCH_INDEX")
    run(*pip, *(["--extra-index-url", index] if index else []), *needs, cwd=BUILD)
    if alone:
        run(*pip, "--no-deps", alone, cwd=BUILD)
    return folder / "bin"


def built() -> tuple[Path, Path]:
    """The wheel, made from the sdist, and the sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    tools = environment("tools", "build")
    run(tools / "python", "-m", "build", "--outdir", DIST, ROOT, cwd=BUILD)
    [wheel], [sdist] = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def contents(wheel: Path, sdist: Path) -> dict[str, Any]:
    """Sizes, and that all is in them that should be and nothing else."""
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        lab = sum(info.compress_size for info in file.infolist() if info.filename.startswith("consort/lab/zoo/"))
    with tarfile.open(sdist) as packed:
        inner = {name.partition("/")[2] for name in packed.getnames()}
    wanted = {"consort/py.typed", "consort/report/page.html.j2", "consort/merge/arithmetic/kernels.c"}
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "consort").rglob("*.py")}
    faults = [f"the wheel lacks {name}" for name in sorted((wanted | sources) - names)]
    faults += [f"the wheel holds {n}" for n in names if not n.startswith(("consort/", "consort-"))]
    faults += [f"the wheel holds {n}" for n in names if re.search(r"__pycache__|\.pyc$|/\.", n)]
    faults += [] if any(n.endswith("licenses/LICENSE") for n in names) else ["the wheel has no licence"]
    papers = ("LICENSE", "README.md", "SECURITY.md", "CITATION.cff", "CHANGELOG.md", "tests/conftest.py", "Makefile")
    faults += [f"the sdist lacks {name}" for name in papers if name not in inner]
    size = wheel.stat().st_size
    faults += [f"the wheel has {size:,} bytes, more than {MOST_WHEEL:,}"] if size >= MOST_WHEEL else []
    return {"wheel_bytes": size, "of_it_lab": lab, "sdist_bytes": sdist.stat().st_size, "faults": faults}


def occupied(folder: Path) -> int:
    """Megabytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) >> 20


def timed(act: Callable[[], object]) -> float:
    """Seconds of the processor that its commands take: a busy machine changes nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    act()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def smoke(programs: Path, folder: Path) -> dict[str, float]:
    """What README shows first, as it is printed there; seconds of the processor of each."""
    readme = (ROOT / "README.md").read_text("utf-8")
    [team], [python] = (re.findall(rf"```{kind}\n(.*?)```", readme, re.DOTALL) for kind in ("yaml", "python"))
    (folder / "team.yml").write_text(team)
    (folder / "merge.yml").write_text(MERGE)
    (folder / "first.py").write_text(python)
    commands = {
        "--version": ["--version"],
        "methods": ["methods", "ties"],
        "doctor": ["doctor"],
        "merge --dry-run": ["merge", "merge.yml", "out/", "--dry-run"],
        "merge": ["merge", "merge.yml", "out/"],
        "generate": ["generate", "team.yml", "mirror a b c ="],
        "auto": ["auto", "lab:mirror", "lab:order", "--task", "lab:tasks/skills", "--budget", "2", "--out", "first"],
        "report": ["report", "first"],
    }  # fmt: skip
    took = {name: timed(lambda w=words: run(programs / "consort", *w, cwd=folder)) for name, words in commands.items()}
    took["README's Python"] = timed(lambda: run(programs / "python", "first.py", cwd=folder))
    return took


def types_are_seen(programs: Path, folder: Path) -> list[str]:
    """Whether a type checker takes the package's types from where it is installed."""
    where = run(programs / "python", "-c", "import consort; print(consort.__file__)", cwd=folder).stdout.strip()
    found = [] if Path(where).with_name("py.typed").is_file() else ["py.typed is not installed"]
    return found + ([f"consort is imported from {where}"] if str(BUILD) not in where else [])


def main() -> int:
    """Build, measure, try, and say what came of it."""
    BUILD.mkdir(parents=True, exist_ok=True)
    wheel, sdist = built()
    report = contents(wheel, sdist)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        report["install_s"] = timed(lambda: environment("whole", str(wheel)))
        whole = BUILD / "whole" / "bin"
        report |= {"installed_mb": occupied(BUILD / "whole"), "seconds": smoke(whole, folder)}
        report["faults"] += types_are_seen(whole, folder)
        made = run(whole / "python", ROOT / "release" / "sbom.py", cwd=folder).stdout
        (DIST / f"{wheel.name.split('-py3')[0]}.cdx.json").write_text(made)
        run(whole / "python", ROOT / "release" / "licences.py", "--check", cwd=folder)
        report["parts"] = len(json.loads(made)["components"])
        report["merge_install_s"] = timed(lambda: environment("merge", *MERGE_NEEDS, alone=str(wheel)))
        least = BUILD / "merge" / "bin"
        report["merge_installed_mb"] = occupied(BUILD / "merge")
        report["merge_s"] = timed(lambda: run(least / "consort", "merge", "merge.yml", "least", cwd=folder))
        same = (folder / "least" / "model.safetensors").read_bytes() == (
            folder / "out" / "model.safetensors"
        ).read_bytes()
        report["faults"] += [] if same else ["a merge in the least environment differs"]
        report["faults"] += ["a merge is slow"] if report["merge_s"] > MOST_MERGE_S else []
    (DIST / "release.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    if "--keep" not in sys.argv:
        shutil.rmtree(BUILD, ignore_errors=True)
    return int(bool(report["faults"]))


if __name__ == "__main__":
    sys.exit(main())
