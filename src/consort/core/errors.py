"""Every error a user can cause: what was wrong, where, and what would be right.

ConsortError                 (exit 2: the user's to mend)
├── UnknownName              a method, model, task or parameter name that does not exist
├── BadParameter             a parameter missing, of the wrong type, or out of its range
├── BadPlan                  a plan that cannot be read
├── BadCheckpoint            a model folder that is missing, damaged, hostile or of a refused kind
├── BadData                  a task, corpus or prompt file that cannot be used
├── Incompatible             checkpoints or models that cannot be combined
├── Unsupported              a model lacks an ability (logits, score, …) that the strategy needs
├── OutputExists             the output is not empty and is not a run that can be resumed
├── MissingExtra             an optional dependency is not installed
└── EnvironmentFailure       (exit 3: the machine's) disk full, no memory, no permission
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

HINT = "hint: "


class ConsortError(Exception):
    """Base class; `except ConsortError` catches everything that is not a defect of consort.

    `field` names the file, key or argument at fault; `hint` says what would be right; `faults` are the errors that this
    one stands for, where several were found. A traceback that nobody caught ends with the hint.

    >>> import consort
    >>> try:
    ...     consort.merge("tiez", [])
    ... except consort.ConsortError as error:
    ...     print(error, "|", error.hint)
    tiez: no merge named 'tiez' | did you mean 'ties'?
    """

    exit_code = 2

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.hint = hint
        self.faults: tuple[ConsortError, ...] = ()
        self._notes: list[str] = []

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    @property
    def __notes__(self) -> list[str]:
        """What a traceback ends with: the hint, then what was added."""
        added = [note for note in self._notes if not note.startswith(HINT)]
        self._notes[:] = [*([f"{HINT}{self.hint}"] if self.hint else []), *added]
        return self._notes

    @__notes__.setter
    def __notes__(self, notes: list[str]) -> None:
        self._notes[:] = notes

    def within(self, where: str) -> ConsortError:
        """The same error, its field prefixed by the place that `where` names; returns self."""
        if self.faults:
            whole = together([fault.within(where) for fault in self.faults])
            self.message, self.hint = whole.message, whole.hint
        else:
            self.field = f"{where}.{self.field}" if self.field else where
        return self


class UnknownName(ConsortError):
    """A method, model, task or parameter name that does not exist."""


class BadParameter(ConsortError):
    """A parameter that is missing, of the wrong type, or out of its range."""


class BadPlan(ConsortError):
    """A plan that cannot be read."""


class BadCheckpoint(ConsortError):
    """A model folder that is missing, damaged, hostile or of a refused kind."""


class BadData(ConsortError):
    """A task, corpus or prompt file that cannot be used."""


class Incompatible(ConsortError):
    """Checkpoints or models that cannot be combined."""


class Unsupported(ConsortError):
    """A model lacks an ability (logits, score, …) that is needed of it."""


class OutputExists(ConsortError):
    """The output is not empty, and is not a run that can be resumed."""


class MissingExtra(ConsortError):
    """An optional dependency is not installed."""


class EnvironmentFailure(ConsortError):
    """The machine's fault: disk full, no memory, no permission (exit code 3)."""

    exit_code = 3


def shortened(text: str, most: int = 60) -> str:
    """A text for an error: its beginning, where it is long."""
    return text if len(text) <= most else f"{text[:most]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt `name`: the nearest known one, else the list of them all."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"


def listing(faults: Iterable[str], most: int = 10) -> str:
    """Several faults of one kind in one line: up to `most`, then how many more."""
    faults = list(faults)
    more = f"; and {len(faults) - most} more" if len(faults) > most else ""
    return "; ".join(faults[:most]) + more


def together(faults: Iterable[ConsortError]) -> ConsortError:
    """One error for several, of the class that they share; a single one stays as it is."""
    each = [part for fault in faults for part in (fault.faults or (fault,))]
    if len(each) == 1:
        return each[0]
    kinds = {type(fault) for fault in each}
    kind = kinds.pop() if len(kinds) == 1 else ConsortError
    hints = dict.fromkeys(f"{fault.field}: {fault.hint}" for fault in each if fault.hint)
    error = kind(f"{len(each)} faults: {listing(map(str, each))}", hint=listing(hints))
    error.faults = tuple(each)
    return error
