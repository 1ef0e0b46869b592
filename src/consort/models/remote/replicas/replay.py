"""A stream that broke off, told again by another replica: what was handed on before is heard and not handed on."""

from __future__ import annotations

from consort.core.errors import Incompatible
from consort.core.types import Completion


class Replay:
    """The text of one answer, whoever tells it. Raises Incompatible where it is told again in other words."""

    def __init__(self, name: str) -> None:
        self.name, self.given, self.heard = name, "", ""

    def again(self) -> None:
        """Somebody begins to tell it from the start."""
        self.heard = ""

    def put(self, piece: str) -> str:
        """What of a piece is new."""
        before = len(self.heard)
        self.heard += piece
        if not (self.given.startswith(self.heard) or self.heard.startswith(self.given)):
            raise self._other()
        new = self.heard[max(before, len(self.given)) :]
        self.given += new
        return new

    def end(self, completion: Completion) -> Completion:
        """The completion, where all that was handed on is in it."""
        if completion.finish_reason != "cancelled" and self.heard != self.given:
            raise self._other()
        return completion

    def _other(self) -> Incompatible:
        what = "the stream broke off, and another replica gives another answer than what was handed on"
        return Incompatible(what, field=self.name, hint="ask again; temperature 0 or a seed make replicas agree")
