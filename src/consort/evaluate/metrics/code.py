"""Code: the answer's program passes the example's tests, run in a sandbox (HumanEval 2107.03374, MBPP 2108.07732)."""

from __future__ import annotations

import ast
import re
from typing import Annotated

from consort.core.errors import BadData
from consort.core.params import Range
from consort.core.types import Example
from consort.evaluate.registry import metric
from consort.evaluate.sandbox import Limits, run_program

FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


@metric(
    needs=("target",),
    unit=True,
    consent="grading runs what models write",
    cases=({"target": "assert f(1) == 2", "right": "def f(x): return x + 1", "wrong": "def f(x): return x"},),
)
def code(answer: str, example: Example, *, timeout_s: Annotated[float, Range(0.1, 3600)] = 10.0) -> float:
    """1 if the program and then every target, each a piece of Python that asserts, run to their end, else 0.

    The program is the answer where that defines something, after the prompt where that is Python too (imports), and
    else the prompt continued by the answer. Of an answer with a fenced block only the block counts. `timeout_s` bounds
    the whole run. Raises BadData for targets that are not Python, Unsupported where the system has no sandbox.
    """
    for test in example.target:
        if parsed(test) is None:
            what = "is not Python"
            raise BadData(what, field=f"line {example.line}: target", hint="write tests such as `assert f(1) == 2`")
    if not answer.strip():
        return 0.0
    program = "\n".join([program_of(example.prompt or "", answer), *example.target])
    return float(run_program(program, Limits(timeout_s=timeout_s)).passed)


def program_of(prompt: str, answer: str) -> str:
    """The program that an answer to a prompt stands for."""
    fenced = FENCE.search(answer)
    own = fenced[1] if fenced else answer
    tree = parsed(own)
    if tree is None or not any(isinstance(node, _DEFINITIONS) for node in tree.body):
        return prompt + own
    return f"{prompt}\n{own}" if parsed(prompt) is not None else own


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def parsed(source: str) -> ast.Module | None:
    """The syntax tree of Python source, None for anything else."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
