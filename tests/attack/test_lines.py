"""The table of `lines` is complete: each line of the specification has a test, and each test is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from tests.attack.lines import BAD_INPUTS, BY_THREAT, FROM_THE_FIELD, LINES, RUN_WHOLE, elsewhere
from tests.attack.test_bad_inputs import CASES

ROOT = Path(__file__).parents[2]


@cache
def functions(file: str) -> set[str]:
    """The test functions of a file."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_line_has_a_test_that_is_there() -> None:
    for line, tests in LINES.items():
        assert tests, line
        for test in tests:
            kind, _, name = test.partition("case:")
            if not kind:
                assert name in CASES, (line, name)
                continue
            file, _, function = test.partition("::")
            assert function in functions(file), (line, test)


def test_every_case_is_one_of_a_line() -> None:
    named = {test.removeprefix("case:") for tests in LINES.values() for test in tests}
    assert set(CASES) - named == {"limit_of_nothing"}  # the contract holds for what is on no list too


def test_the_numbers_are_those_of_the_specification() -> None:
    assert list(BAD_INPUTS) == list(range(1, 59)) and len(BY_THREAT) == 21
    assert list(FROM_THE_FIELD) == [f"F{number}" for number in range(1, 21) if number != 9]
    assert len(LINES) == 98


def test_the_lines_are_those_of_the_specification(shared: Path) -> None:
    text = (shared.parent / "specs" / "robustness.md").read_text("utf-8")
    threats, inputs = text.split("\n## 3")[1].split("\n## 4"), text.split("\n## 4")[1].split("\n## 5")[0]
    rows = [line.split("|")[1].strip() for line in threats[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(BY_THREAT)
    for row, name in zip(rows, BY_THREAT, strict=True):
        assert row.startswith(name) or name.split()[0] in row, (row, name)
    assert [int(n) for n in re.findall(r"^(\d+)\. ", inputs, re.MULTILINE)] == list(BAD_INPUTS)
    field = (shared.parent / "cases" / "field.md").read_text("utf-8")
    assert re.findall(r"^\| (F\d+) \|", field, re.MULTILINE) == list(FROM_THE_FIELD)


def test_make_attack_runs_them_all() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    command = next(line for line in makefile.splitlines() if "tests/attack/lines.py" in line)
    for folder in RUN_WHOLE:
        assert folder.rstrip("/") in command
    assert "slow or not slow" in command and elsewhere()
