"""What a law is: a function of a registered name that raises AssertionError where it is broken.

A file of laws has `KINDS`, the kinds of registry that they are about, and `LAWS`; `consort.testing.battery` finds it
because it is there. What a method needs to be tried is declared beside it, by keyword arguments of its decorator:

    example   arguments as a plan gives them; for strategies over models an int is the number of one of the law's models
    examples  more of them, by name
    exempt    {LAW: REASON}: what it does not keep
    cases     for metrics: {prompt, target, ..., right: ANSWER, wrong: ANSWER}, rows of a task with answers to them
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

Law = Callable[[str], None]


class DoesNotApply(Exception):
    """Raised by a law that has nothing to say of a method; the message is the reason."""


def applies(condition: Any, otherwise: str) -> None:
    """Leave a law whose condition a method does not meet."""
    if not condition:
        raise DoesNotApply(otherwise)


def named(name: str) -> Callable[[Law], Law]:
    """Gives a law the name of the one that it makes a law of names of."""

    def rename(law: Law) -> Law:
        law.__name__ = name
        return law

    return rename


def law_of(law: Callable[..., None], build_of: Callable[[str], Any]) -> Law:
    """A law of what builds a strategy as a law of a registered name."""

    @wraps(law)
    def of(name: str) -> None:
        law(build_of(name))

    return of
