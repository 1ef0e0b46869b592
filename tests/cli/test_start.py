"""The program starts fast and imports nothing heavy for help, version, listing and checking plans."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

BUDGET_S = {"--help": 0.25, "methods": 0.6}
"""CPU, on an idle core; docs/decisions and benchmarks/start.py have what is measured."""
SLACK = 4
HEAVY = ("torch", "transformers", "safetensors.torch", "datasets", "optuna")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["merge", "--help"], ["auto", "--help"], ["methods"], ["methods", "ties"]],
    ids=" ".join,
)
def test_light_verbs_are_within_the_budget(arguments):
    code = (
        "import sys; from consort.cli.border import run; "
        f"code = run({arguments!r}); "
        f"print('\\n' + __import__('json').dumps([code, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(shown.stdout.splitlines()[-1]) == [0, []]
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used <= BUDGET_S.get(arguments[0], 0.6) * SLACK


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
