"""How far a search is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from consort.core.counted import counted
from consort.core.progress import lines, track
from consort.search.engine.run import History


@contextmanager
def searching(budget: int | None) -> Iterator[Callable[[History], None]]:
    """Within the block, call what is yielded with the history so far."""
    with track("searching", total=budget) as advance, lines("searching", total=budget) as say:
        shown = 0

        def told(history: History) -> None:
            nonlocal shown
            advance(history.evaluations - shown)
            shown = history.evaluations
            best = history.highest
            of = "" if budget is None else f" of {max(budget, shown)}"
            amount = f"{shown}{of} evaluated" if of else f"{counted(shown, 'evaluation')}"
            say(shown, amount + (f", best {best:.4f}" if best > float("-inf") else ""))

        yield told
