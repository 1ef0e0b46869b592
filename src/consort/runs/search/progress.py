"""How far a search is: seen on a terminal, printed now and then elsewhere, kept in the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from consort.core.progress import watched
from consort.search.engine.run import History


@contextmanager
def searching(folder: Path, budget: int | None, known: int) -> Iterator[Callable[[History], None]]:
    """Within the block, call what is yielded with the history so far; `known` evaluations are known already."""
    with watched(folder, "search") as watch:
        watch.phase("searching", budget)

        def told(history: History) -> None:
            if history.highest > float("-inf"):
                watch.found("", history.highest)
            watch.tell(history.evaluations, known=min(known, history.evaluations))

        yield told
