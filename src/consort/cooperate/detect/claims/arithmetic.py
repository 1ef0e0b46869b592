"""Arithmetic in claims, reckoned without running any code: numbers, + - * / **, and parentheses."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction

EQUATION = re.compile(
    r"(?<![\w.])([\d(][\d\s.,()+\-*/^×÷]*?)\s*(?:=|equals|is equal to)\s*(-?[\d][\d,]*(?:\.\d+)?)(?![\w])"
)
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
MOST_EXPONENT, MOST_BITS, MOST_NODES = 64, 4096, 100


def reckoned(text: str) -> Fraction | None:
    """The exact value of an expression; None for anything that is none, a division by 0, or what is too large.

    >>> reckoned("2 * (3 + 4)"), reckoned("2 ** 65"), reckoned("open('x')")
    (Fraction(14, 1), None, None)
    """
    written = text.replace("^", "**").replace("×", "*").replace("÷", "/").replace(",", "")
    try:
        tree = ast.parse(written.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
        return None
    try:
        return _value(tree.body)
    except (ZeroDivisionError, OverflowError, ValueError, RecursionError):
        return None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(Fraction(str(number)))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return _value(inner)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            exponent = _value(right)
            if exponent.denominator != 1 or abs(exponent) > MOST_EXPONENT:
                raise ValueError("the exponent is no small whole number")
            return _bounded(Fraction(_value(left) ** int(exponent)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return _bounded(OPERATORS[type(op)](_value(left), _value(right)))
    raise ValueError("no arithmetic")


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise ValueError("too large")
    return value


def equations(claim: str) -> bool | None:
    """Whether all equations of a claim hold, to the places that are written; None of a claim without one."""
    found = []
    for left, right in EQUATION.findall(claim):
        value = reckoned(left)
        if value is None or not re.search(r"[+\-*/^×÷]", left):
            continue
        written = right.replace(",", "")
        places = len(written.partition(".")[2])
        near = 0.5000001 * 10**-places if places else 0.0
        found.append(math.isclose(float(value), float(written), rel_tol=1e-12, abs_tol=near))
    return all(found) if found else None
