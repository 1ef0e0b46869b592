"""How the answers of an endpoint ended, where it is not how answers do."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from consort.core.counted import counted
from consort.core.types import Completion
from consort.models.remote.wire.answers import USUAL

log = logging.getLogger(__name__)


class Endings(Counter[str]):
    """Answers of `name` by their `finish_reason`, without those that ended as answers do."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def tell(self, answers: Sequence[Completion]) -> None:
        """Count them, and say so the first time."""
        odd = Counter(answer.finish_reason for answer in answers if answer.finish_reason not in USUAL)
        for reason in odd:
            if reason not in self:
                shown = f"{odd[reason]} of {counted(len(answers), 'answer')}"
                log.warning("%s: %s ended by %r; `finish_reason` tells which", self.name, shown, reason)
        self.update(odd)
