"""Which relation comes next on the way to an answer: a small classifier, learned from ways that were right.

Multinomial logistic regression over the words of the question (what it names left out), pairs of words, and the
relations taken so far; the class END says that the answer is reached.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData
from consort.core.files import write_atomic
from consort.knowledge.words import split

END = ""
"""The class of questions whose answer is reached."""


@dataclass(slots=True)
class Relations:
    """Weights of features for each relation; `names` are the classes, END among them."""

    names: list[str]
    features: dict[str, int]
    weights: Float[np.ndarray, "class feature_1"]
    _memo: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def log_probabilities(self, question: str, taken: Sequence[str]) -> dict[str, float]:
        """Nats of each relation, and of END, after those `taken`; `question` without the names in it."""
        row = self.weights[:, -1].copy()
        for feature in features_of(question, taken):
            if feature in self.features:
                row += self.weights[:, self.features[feature]]
        row -= row.max()
        return dict(zip(self.names, (row - np.log(np.exp(row).sum())).tolist(), strict=True))

    @classmethod
    def fit(cls, ways: Iterable[tuple[str, Sequence[str]]], *, strength: float = 10.0) -> Relations:
        """Learn from questions (names left out) and the relations that lead to their answers. Raises BadData for none.

        `strength` is the inverse of the penalty on squared weights.
        """
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression

        rows: list[list[str]] = []
        classes: list[str] = []
        for question, relations in ways:
            for i in range(len(relations) + 1):
                rows.append(features_of(question, relations[:i]))
                classes.append(relations[i] if i < len(relations) else END)
        if len(set(classes)) < 2:
            raise BadData("there are no ways to learn from", field="ways", hint="questions with their relations")
        features = {name: i for i, name in enumerate(sorted({name for row in rows for name in row}))}
        places = [features[name] for row in rows for name in row]
        ends = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        matrix = csr_matrix((np.ones(len(places)), places, ends), shape=(len(rows), len(features)))
        model = LogisticRegression(C=strength, max_iter=300, random_state=0).fit(matrix, classes)
        weights, offset, names = model.coef_, model.intercept_, [str(name) for name in model.classes_]
        if len(names) == 2:
            weights, offset = np.concatenate([-weights, weights]), np.concatenate([-offset, offset])
        return cls(names, features, np.concatenate([weights, offset[:, None]], 1).astype(np.float32))

    def save(self, file: str | Path) -> None:
        """Write a JSON file, from which `open` makes the same again."""
        kept = {"names": self.names, "features": list(self.features), "weights": self.weights.round(6).tolist()}
        write_atomic(Path(file), json.dumps(kept, ensure_ascii=False))

    @classmethod
    def open(cls, file: str | Path) -> Relations:
        """Raises BadData for a file that is none of these."""
        try:
            kept: Mapping[str, list[str]] = json.loads(Path(file).read_text("utf-8"))
            weights = np.array(kept["weights"], np.float32)
            features = {str(name): i for i, name in enumerate(kept["features"])}
            names = [str(name) for name in kept["names"]]
            if weights.shape != (len(names), len(features) + 1) or not np.isfinite(weights).all():
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise BadData("are no relations that were learned", field=str(file), hint="fit them again") from fault
        return cls(names, features, weights)


def features_of(question: str, taken: Sequence[str]) -> list[str]:
    """Words, pairs of neighbours, the number of steps, and words together with the last step."""
    words = split(question)
    pairs = [f"{a} {b}" for a, b in zip(["^", *words], [*words, "$"], strict=True)]
    last = taken[-1] if taken else "^"
    steps = [f"#{len(taken)}", f"<{last}", f"<{' '.join(taken)}"]
    return list(dict.fromkeys([*words, *pairs, *steps, *(f"{f}<{len(taken)}{last}" for f in (*words, *pairs))]))
