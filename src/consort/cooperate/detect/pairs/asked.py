"""A language model as a pair scorer: it is asked whether a text supports a statement."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from consort.cooperate.detect.asking import Asking, filled, quoted, template_of
from consort.cooperate.detect.pairs import pair_scorer
from consort.cooperate.detect.pairs.kept import Kept
from consort.core.journal import key_of
from consort.core.types import Usage
from consort.models.base import LanguageModel

TEMPLATE = (
    "Text:\n{premise}\n\nStatement:\n{hypothesis}\n\nDoes the text support the statement, contradict it, or neither? "
    "Answer with one word: supports, contradicts or neither.\nAnswer:"
)
ROWS = {"support": (1.0, 0.0, 0.0), "contradict": (0.0, 0.0, 1.0), "neither": (0.0, 1.0, 0.0)}
WORD = re.compile("|".join(ROWS), re.IGNORECASE)


@pair_scorer()
class Asked:
    """What a language model says of a text and a statement, as a probability of 1; a reply of neither is neutral.

    `template` has {premise} and {hypothesis}. `unread` counts replies that named none of the three: neutral too.
    """

    def __init__(self, model: LanguageModel, *, template: str = "") -> None:
        self.model, self.template = model, template
        self.wording = template_of(template, TEMPLATE, "premise", "hypothesis")
        self.name = model.name
        self.key = key_of([model.name, self.wording])
        self.asking, self._kept, self.unread = Asking(model), Kept(), 0

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Float[np.ndarray, "pair 3"]:
        """Rows of (1, 0, 0), (0, 1, 0) or (0, 0, 1)."""
        return self._kept.scores(self.key, list(zip(premises, hypotheses, strict=True)), self._read)

    def spent(self) -> Usage:
        return sum(self.asking.spent().values(), Usage())

    def _read(self, pairs: Sequence[tuple[str, str]]) -> Float[np.ndarray, "pair 3"]:
        prompts = [filled(self.wording, premise=quoted(a), hypothesis=quoted(b)) for a, b in pairs]
        found = []
        for text in self.asking.texts(prompts, max_tokens=8):
            word = WORD.search(text)
            self.unread += word is None
            found.append(ROWS[word[0].lower()] if word else ROWS["neither"])
        return np.array(found)
