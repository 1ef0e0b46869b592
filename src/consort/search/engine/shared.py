"""Several machines, one search or evaluation: the same command on each, with a folder that all of them see.

Each runs the whole of it by itself, with the same seed, but evaluates only jobs that it has claimed; what others have
done it reads. So all come to the same end, nobody leads, and any of them may be killed: a claim that is no longer kept
fresh is taken over. A claim is a file that only one can create; its number grows with every take-over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Any
from uuid import uuid4

from consort.core.errors import BadData, BadParameter
from consort.core.files import machine_errors, write_json
from consort.core.journal import key_of
from consort.search.engine.scores import Outcome

FRESH_S = 60.0
"""A claim older than this belongs to nobody."""
BEATS = 6
"""How often in that time a claim is renewed."""
LOOK_S = 0.1
"""Between two looks for what others have done."""
STAMP = "search.json"


class Shared(ExitStack):
    """Evaluates the jobs that no other process claims, in `folder`; `search` says of what they are jobs.

    Outcomes are of a `kind` that has `to_json` and `from_json`. Raises BadParameter where the folder belongs to another
    search.
    """

    def __init__(
        self,
        make: Callable[[], Callable[[Any], list[Any]]],
        folder: Path,
        search: str,
        kind: type[Any] = Outcome,
        *,
        fresh_s: float = FRESH_S,
    ) -> None:
        super().__init__()
        self._make, self.folder, self.kind, self.fresh_s = make, folder, kind, fresh_s
        self._evaluate: Callable[[Any], list[Any]] | None = None
        with machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / STAMP).exists():
                write_json(folder / STAMP, {"search": search})
            own = json.loads((folder / STAMP).read_text("utf-8")).get("search")
        if own != search:
            hint = "a folder of its own for each search; models and task must be the same on all machines"
            raise BadParameter("belongs to another search", field=str(folder), hint=hint)

    def map(self, jobs: Sequence[Any]) -> Iterator[list[Any]]:
        """The outcomes of jobs, in order, whoever found them."""
        names = [key_of([asdict(job)]) for job in jobs]
        with machine_errors(self.folder):
            for turn, name in enumerate(names):
                while (found := self._known(name)) is None:
                    if not any(self._does(other, job) for other, job in zip(names[turn:], jobs[turn:], strict=True)):
                        sleep(LOOK_S)
                yield found

    def _known(self, name: str) -> list[Any] | None:
        file = self.folder / f"{name}.json"
        if not file.exists():
            return None
        try:
            return [self.kind.from_json(value) for value in json.loads(file.read_text("utf-8"))["outcomes"]]
        except (ValueError, KeyError, TypeError) as fault:
            raise BadData(f"is no outcome: {type(fault).__name__}", field=str(file), hint="delete this file") from None

    def _does(self, name: str, job: Any) -> bool:
        """Evaluate a job that nobody has done or is doing; whether it was done here."""
        if (self.folder / f"{name}.json").exists():
            return False
        claim = self._claimed(name)
        if claim is None:
            return False
        if not (self.folder / f"{name}.json").exists():  # done between the look and the claim
            with self._kept_fresh(claim):
                if self._evaluate is None:
                    self._evaluate = self._make()
                outcomes = self._evaluate(job)
            write_json(self.folder / f"{name}.json", {"outcomes": [outcome.to_json() for outcome in outcomes]})
        return True

    def _claimed(self, name: str) -> Path | None:
        """The file of a claim that is ours now, None where another's is fresh or comes first."""
        numbers = [int(file.suffix[1:]) for file in self.folder.glob(f"{name}.claim.*")]
        last = max(numbers, default=0)
        if last and self._age_s(self.folder / f"{name}.claim.{last}") < self.fresh_s:
            return None
        mine = self.folder / f"{name}.claim.{last + 1}"
        try:
            os.close(os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return None
        return mine

    def _age_s(self, file: Path) -> float:
        """By the clock that dates the folder's files, whichever machine's it is."""
        now = self.folder / f"now.{uuid4().hex}"
        now.touch()
        age = now.stat().st_mtime - file.stat().st_mtime
        now.unlink()
        return age

    @contextmanager
    def _kept_fresh(self, claim: Path) -> Iterator[None]:
        """Within the block, the claim is renewed."""
        ended = Event()

        def renew() -> None:
            while not ended.wait(self.fresh_s / BEATS):
                claim.touch()

        thread = Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
