"""Programs that a language model writes, read with a whitelist: they can ask, verify and predict, and nothing else.

ProgramFC's released executor takes programs apart by regular expressions, understands `and` alone, takes unknown names
for true, and guesses where a program fails (2305.12744, its code). Here what is not allowed makes a program abstain.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

MOST_STATEMENTS, MOST_CHARACTERS, MOST_SOURCE = 20, 500, 20_000
CALLS = ("Question", "Verify", "Predict")
Kind = Literal["Question", "Verify", "Predict"]


@dataclass(frozen=True, slots=True)
class Step:
    """`name = Kind(argument)`: the parts of a string, (is a name, text) each, or of Predict an expression."""

    name: str
    kind: Kind
    parts: tuple[tuple[bool, str], ...] = ()
    logic: ast.expr | None = None


class NotAllowed(Exception):
    """A program that does something else than it may."""


def parse(source: str) -> tuple[Step, ...] | None:
    """The steps of a program; None for one that does anything that is not allowed.

    Allowed are assignments of a fresh name to one call: Question and Verify of one string, an f-string with bare names
    too, and Predict of names, `and`, `or` and `not`. Every name is set before it is used; there are at most 20
    statements, and 500 characters in a string.

    >>> parse('a = Question("Who?")\\nb = Verify(f"{a} was king.")\\nc = Predict(b)') is None
    False
    >>> parse('a = __import__("os").system("ls")') is None
    True
    """
    if len(source) > MOST_SOURCE or "\0" in source:
        return None
    try:
        return _steps(ast.parse(source))
    except (NotAllowed, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def run(steps: tuple[Step, ...], question: Callable[[str], str], verify: Callable[[str], bool | None]) -> bool | None:
    """What a program predicts, the value of its last Predict; None where it has none or a step gives nothing."""
    values: dict[str, str | bool | None] = {}
    found: bool | None = None
    for step in steps:
        if step.kind == "Predict":
            assert step.logic is not None
            found = _logic(step.logic, values)
            values[step.name] = found
            continue
        texts = [_text(values.get(part)) if is_name else part for is_name, part in step.parts]
        if any(text is None for text in texts):
            return None
        written = "".join(text for text in texts if text is not None)[: 4 * MOST_CHARACTERS]
        values[step.name] = question(written) if step.kind == "Question" else verify(written)
    return found


def majority(predictions: list[bool | None]) -> bool | None:
    """What most programs predict that predict anything; None for a tie, and where all abstain."""
    yes, no = predictions.count(True), predictions.count(False)
    return None if yes == no else yes > no


def _steps(tree: ast.Module) -> tuple[Step, ...]:
    if not 0 < len(tree.body) <= MOST_STATEMENTS:
        raise NotAllowed
    known: dict[str, Kind] = {}
    found = []
    for statement in tree.body:
        step = _step(statement, known)
        known[step.name] = step.kind
        found.append(step)
    if all(step.kind != "Predict" for step in found):
        raise NotAllowed
    return tuple(found)


def _step(statement: ast.stmt, known: dict[str, Kind]) -> Step:
    match statement:
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(func=ast.Name(id="Question" | "Verify" | "Predict" as kind), args=[argument], keywords=[]),
        ) if name not in known and name not in CALLS:
            if kind == "Predict":
                _check_logic(argument, known)
                return Step(name, "Predict", logic=argument)
            return Step(name, kind, _parts(argument, known))
    raise NotAllowed


def _parts(argument: ast.expr, known: dict[str, Kind]) -> tuple[tuple[bool, str], ...]:
    match argument:
        case ast.Constant(value=str(text)):
            found: list[tuple[bool, str]] = [(False, text)]
        case ast.JoinedStr(values=values):
            found = [_part(value, known) for value in values]
        case _:
            raise NotAllowed
    if sum(len(text) for _, text in found) > MOST_CHARACTERS:
        raise NotAllowed
    return tuple(found)


def _part(value: ast.expr, known: dict[str, Kind]) -> tuple[bool, str]:
    match value:
        case ast.Constant(value=str(text)):
            return False, text
        case ast.FormattedValue(value=ast.Name(id=name), conversion=-1, format_spec=None) if name in known:
            return True, name
    raise NotAllowed


def _check_logic(node: ast.expr, known: dict[str, Kind]) -> None:
    """Names of verdicts, `and`, `or`, `not`."""
    match node:
        case ast.Name(id=name) if known.get(name) in ("Verify", "Predict"):
            return
        case ast.BoolOp(values=values):
            for value in values:
                _check_logic(value, known)
            return
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check_logic(operand, known)
            return
    raise NotAllowed


def _logic(node: ast.expr, values: dict[str, str | bool | None]) -> bool | None:
    """Three-valued: what is not known stays so unless the rest decides."""
    match node:
        case ast.Name(id=name):
            value = values.get(name)
            return value if isinstance(value, bool) else None
        case ast.UnaryOp(operand=operand):
            inner = _logic(operand, values)
            return None if inner is None else not inner
        case ast.BoolOp(op=op, values=parts):
            deciding = isinstance(op, ast.Or)
            found = [_logic(part, values) for part in parts]
            if deciding in found:
                return deciding
            return None if None in found else not deciding
    return None


def _text(value: str | bool | None) -> str | None:
    return value if isinstance(value, str) else None if value is None else str(value).lower()
