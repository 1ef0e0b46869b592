"""What an endpoint wants or refuses beside the usual, learned from what it says and told once."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from threading import Lock
from typing import Any

from consort.models.remote.failures import Refused, shortened

log = logging.getLogger(__name__)

OPTIONAL = {
    "logprobs": (re.compile(r"log[-_ ]?prob", re.I), "answers have no log-probabilities"),
    "seed": (re.compile(r"\bseed\b", re.I), "sampled answers cannot be drawn again"),
    "stream_options": (re.compile(r"stream_options|include_usage", re.I), "streams may not count their tokens"),
}
"""What a request can do without, how it is spoken of, and what is lost."""

UNKNOWN = re.compile(r"unsupported|un(known|recognized|expected)|not (supported|permitted)|extra", re.I)
"""How an endpoint says that it has no such parameter, and not that its value is wrong."""

NEWER, OLDER = "max_completion_tokens", "max_tokens"


class Habits:
    """What one endpoint has been found to do; safe for threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._left_out: frozenset[str] = frozenset()
        self._is_newer, self._lock = False, Lock()

    @property
    def gives_logprob(self) -> bool:
        return "logprobs" not in self._left_out

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request as this endpoint takes it."""
        kept = {key: value for key, value in body.items() if key not in self._left_out}
        if self._is_newer and OLDER in kept:
            kept[NEWER] = kept.pop(OLDER)
        return kept

    def learn(self, refusal: Refused, body: Mapping[str, Any]) -> bool:
        """Whether `body`, which was refused, would now be sent in another form."""
        said = refusal.said
        with self._lock:
            if not self._is_newer and OLDER in body and (NEWER in said.message or self._unknown(said, OLDER)):
                self._is_newer = True
                log.warning("%s wants %s in place of %s", self.name, NEWER, OLDER)
            for option, (word, loss) in OPTIONAL.items():
                if option in body and option not in self._left_out and (
                    said.param == option or word.search(said.message)
                ):  # fmt: skip
                    self._left_out |= {option}
                    log.warning("%s does not take %s: %s (%s)", self.name, option, loss, shortened(said.message))
        return self.applied(body) != body

    @staticmethod
    def _unknown(said: Any, name: str) -> bool:
        return bool((said.param == name or name in said.message) and UNKNOWN.search(f"{said.code} {said.message}"))
