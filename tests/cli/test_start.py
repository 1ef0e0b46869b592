"""The program starts fast and imports nothing heavy for help, version, listing and checking plans."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

BUDGET_S = 0.5
SLACK = 3
HEAVY = ("torch", "transformers", "safetensors.torch", "datasets", "optuna")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["merge", "--help"], ["auto", "--help"], ["methods"], ["methods", "ties"]],
    ids=" ".join,
)
def test_light_verbs_are_within_the_budget(arguments):
    code = (
        "import sys, time; start = time.perf_counter(); from consort.cli.border import run; "
        f"code = run({arguments!r}); used = time.perf_counter() - start; "
        f"print('\\n' + __import__('json').dumps([code, used, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    started = time.perf_counter()
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    whole = time.perf_counter() - started
    code_, _, heavy = json.loads(shown.stdout.splitlines()[-1])
    assert (code_, heavy) == (0, [])
    assert whole <= BUDGET_S * SLACK


def test_a_plan_is_checked_without_torch(tmp_path):
    (tmp_path / "plan.yml").write_text("ties: {models: [a, b], base: o, densty: 0.1}")
    code = (
        "import sys; from consort.cli.border import run; "
        f"code = run(['merge', {str(tmp_path / 'plan.yml')!r}, 'out']); print(code, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["2", "False"]
    assert shown.stderr.splitlines() == [
        "error: plan.ties.densty: ties has no parameter 'densty'",
        "hint: did you mean 'density'?",
    ]
