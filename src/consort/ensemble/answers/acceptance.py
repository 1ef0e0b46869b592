"""When to believe many answers of a weak model: what their spread tells, and a rule learned from it (2310.03094).

The paper accepts by the share of the top answer, or if two styles of asking agree; the learned rule weighs both, the
entropy of the answers and each style's own share by logistic regression.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from consort.ensemble.answers.voting import elected
from consort.ensemble.learning.fitting import Learned

NAMES = ("share", "entropy", "agreement", "second", "distinct")
"""Features before the share of each style."""
REGULARISATION = 1.0
Sets = Sequence[Sequence[str | None]]
"""What can be read of the samples, by style."""


def top_answer(sets: Sets) -> str | None:
    """The answer given most often over all styles, of equals the first given; None where none can be read."""
    flat = [answer for answers in sets for answer in answers]
    chosen = elected(flat)
    return None if chosen is None else flat[chosen]


def share(sets: Sets) -> float:
    """The top answer's share of all samples; those that cannot be read count in the denominator only."""
    total = sum(map(len, sets))
    return sum(list(answers).count(top_answer(sets)) for answers in sets) / total if top_answer(sets) else 0.0


def agree(sets: Sets) -> bool:
    """Whether the majority answer is the same in every style."""
    tops = {top_answer([answers]) for answers in sets}
    return len(tops) == 1 and None not in tops


def features(sets: Sets) -> list[float]:
    """Share and entropy (nats), agreement of styles, the second answer's share, distinct answers, shares by style."""
    total, top = sum(map(len, sets)), top_answer(sets)
    counts = Counter(answer for answers in sets for answer in answers if answer is not None)
    shares = sorted((n / total for n in counts.values()), reverse=True)
    entropy = -sum(p * math.log(p) for p in shares)
    by_style = [list(answers).count(top) / len(answers) if top is not None else 0.0 for answers in sets]
    second = shares[1] if len(shares) > 1 else 0.0
    return [share(sets), entropy, float(agree(sets)), second, len(counts) / total, *by_style]


def chance_right(table: Float[np.ndarray, "row feature"], learned: Learned) -> Float[np.ndarray, " row"]:
    """The learned chance that the top answer is right."""
    mean, scale, weight = (np.array(learned.values[k]) for k in ("mean", "scale", "weight"))
    return np.asarray(1 / (1 + np.exp(-((table - mean) / scale @ weight + learned.values["bias"]))))


def fit_rule(
    table: Float[np.ndarray, "row feature"], right: Sequence[bool], escalated: float, kind: str = "mixture_of_thought"
) -> Learned:
    """Logistic regression of "the top answer is right" on features, and the threshold below which `escalated` lies.

    The threshold is a quantile of the fitted chances and not the best for these rows: a sharper choice would fit noise.
    Where all are right or all wrong, only the share counts.
    """
    mean, spread = table.mean(0), table.std(0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    if len(set(right)) < 2:
        weight, bias = np.eye(table.shape[1])[0], 0.0
    else:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=REGULARISATION).fit((table - mean) / scale, np.asarray(right))
        weight, bias = model.coef_[0], float(model.intercept_[0])
    found = {"mean": mean.tolist(), "scale": scale.tolist(), "weight": weight.tolist(), "bias": bias}
    chances = chance_right(table, Learned(kind, values=found))
    threshold = math.nextafter(float(np.quantile(chances, escalated)), 2) if escalated > 0 else 0.0
    return Learned(kind, values={**found, "threshold": threshold})
