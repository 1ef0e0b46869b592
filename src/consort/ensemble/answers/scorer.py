"""FrugalGPT's scorer g(x, y): the chance that a model's answer is right, from the words of query and answer.

The paper fine-tunes a text classifier for this; here it is a logistic regression on hashed TF-IDF features, one for
each model, which takes a second to fit and needs no vocabulary to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from consort.ensemble.answers.text_similarity import words_of

FEATURES = 2**14
FOLDS = 5
REGULARISATION = 3.0


def tokens_of(pair: tuple[str, str]) -> list[str]:
    """Words and pairs of words, marked as the query's or the answer's, and the answer's length (in powers of two)."""
    found = []
    for mark, text in zip("qa", pair, strict=True):
        words = words_of(text)
        found += [f"{mark}:{word}" for word in words]
        found += [f"{mark}:{a} {b}" for a, b in zip(words, words[1:], strict=False)]
    return [*found, f"length:{len(pair[1]).bit_length()}"]


def counts_of(pairs: Sequence[tuple[str, str]]) -> Any:
    """A sparse row of hashed counts for each (query, answer), damped to 1 + log."""
    from sklearn.feature_extraction.text import HashingVectorizer

    table = HashingVectorizer(analyzer=tokens_of, n_features=FEATURES, alternate_sign=False, norm=None).transform(pairs)
    table.data = 1 + np.log(table.data)
    return table


def inverse_frequency(counts: Any) -> Float[np.ndarray, " feature"]:
    """Smoothed inverse document frequencies of hashed features."""
    seen = np.bincount(counts.indices, minlength=FEATURES)
    return np.asarray(np.log((1 + counts.shape[0]) / (1 + seen)) + 1)


def weighted(counts: Any, frequency: Float[np.ndarray, " feature"]) -> Any:
    """TF-IDF rows of length 1."""
    from sklearn.preprocessing import normalize

    return normalize(counts.multiply(frequency).tocsr())


def fit_scorers(
    queries: Sequence[str], answers: Sequence[Sequence[str]], right: Float[np.ndarray, "n model"], *, seed: int
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "n model"]]:
    """The state of a scorer for each model, and what scorers fitted without an example say of it.

    Thresholds are to be chosen on the latter: scores of examples that a scorer has seen are far too sure.
    """
    n, models = right.shape
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    weights, biases, estimates = np.zeros((models, FEATURES)), np.zeros(models), np.zeros((n, models))
    frequencies = np.zeros((models, FEATURES))
    for m in range(models):
        counts = counts_of([(query, row[m]) for query, row in zip(queries, answers, strict=True)])
        frequencies[m] = inverse_frequency(counts)
        table = weighted(counts, frequencies[m])
        weights[m], biases[m] = _logistic(table, right[:, m])
        for k in range(min(FOLDS, n)):
            inside = fold != k
            weight, bias = _logistic(table[inside], right[inside, m])
            estimates[~inside, m] = _chance(table[~inside], weight, bias)
    return {"frequency": frequencies, "weight": weights, "bias": biases}, estimates


def scores_of(
    state: Mapping[str, np.ndarray], model: int, queries: Sequence[str], answers: Sequence[str]
) -> Float[np.ndarray, " n"]:
    """The chance that each answer of a model is right."""
    if not queries:
        return np.zeros(0)
    table = weighted(counts_of(list(zip(queries, answers, strict=True))), state["frequency"][model])
    return _chance(table, state["weight"][model], float(state["bias"][model]))


def _logistic(table: Any, right: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import LogisticRegression

    labels = right >= 0.5
    if labels.all() or not labels.any():
        return np.zeros(FEATURES), 5.0 if labels.all() and len(labels) else -5.0
    used = np.unique(table.indices)  # the ridge keeps the weight of a feature that no example has at 0
    model = LogisticRegression(C=REGULARISATION, max_iter=1000).fit(table[:, used], labels)
    weight = np.zeros(FEATURES)
    weight[used] = model.coef_[0]
    return weight, float(model.intercept_[0])


def _chance(table: Any, weight: np.ndarray, bias: float) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-(table @ weight + bias))))
