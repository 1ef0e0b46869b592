"""Ridge regression of several targets at once on sparse or dense rows, by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from consort.ensemble.routing.alike import similarity
from consort.ensemble.routing.features import Rows

FOLDS = 5
DUAL = 2000
"""Most rows for which cross-validation solves by products of rows."""
LARGE = 10_000
"""Most rows for which everything is weighed with every query; beyond, choices are made on a sample of them."""
COMMON, BLOCK = 512, 8192
"""Features that large problems are solved exactly for, and rows that are dense at a time."""


def ridge(
    rows: Rows,
    targets: Float[np.ndarray, "n target"],
    alpha: float,
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    steps: int = 60,
    tolerance: float = 1e-3,
) -> tuple[Float[np.ndarray, "feature target"], Float[np.ndarray, " target"]]:
    """Coefficients and intercepts that minimise sum_i w_i |y_i - x_i W - b|^2 + alpha |W|^2.

    `targets` that are NaN count as that target's mean. Stops when every gradient is `tolerance` times the first.
    """
    rows, active = _active(rows)
    w = np.ones(len(targets), np.float32) if weight is None else weight.astype(np.float32)
    mean = _means(targets, w)
    centred = np.nan_to_num(targets - mean).astype(np.float32)
    transposed = rows.T.tocsr() if hasattr(rows, "tocsr") else rows.T
    middle = (transposed @ w / w.sum()).astype(np.float32)

    def normal(v: Float[np.ndarray, "feature target"]) -> Float[np.ndarray, "feature target"]:
        seen = (rows @ v - middle @ v) * w[:, None]
        return np.asarray(transposed @ seen - np.outer(middle, seen.sum(0)) + alpha * v)

    right = transposed @ (w[:, None] * centred) - np.outer(middle, (w[:, None] * centred).sum(0))
    nearly = _inverse_of_common(rows, w, middle, alpha) if len(targets) > LARGE and hasattr(rows, "indptr") else None
    found = _conjugate_gradients(normal, right, steps, tolerance, nearly)
    return _spread(found, active), np.asarray(mean - middle @ found)


Active = tuple[np.ndarray, int] | None
"""The columns that some row has, and how many columns there are; None for dense rows."""


def _active(rows: Rows) -> tuple[Rows, Active]:
    """Sparse rows without their empty columns, whose coefficients are 0 whatever the targets."""
    if not hasattr(rows, "indptr"):
        return rows, None
    from scipy.sparse import csr_matrix

    used = np.flatnonzero(np.bincount(rows.indices, minlength=rows.shape[1]))
    place = np.zeros(rows.shape[1], np.int32)
    place[used] = np.arange(len(used))
    compact = csr_matrix((rows.data, place[rows.indices], rows.indptr), shape=(rows.shape[0], len(used)))
    return compact, (used, rows.shape[1])


def _spread(weight: Float[np.ndarray, "used target"], active: Active) -> Float[np.ndarray, "feature target"]:
    """Coefficients of all columns from those of the active ones."""
    if active is None:
        return weight
    found = np.zeros((active[1], weight.shape[1]), np.float32)
    found[active[0]] = weight
    return found


Solve = Callable[[np.ndarray], np.ndarray]


def _conjugate_gradients(
    normal: Solve,
    right: Float[np.ndarray, "feature target"],
    steps: int,
    tolerance: float,
    nearly: Solve | None = None,
) -> Float[np.ndarray, "feature target"]:
    """Solves normal(v) = right for every column by itself, side by side; `nearly` is about the inverse of `normal`."""
    found, left = np.zeros_like(right), right.copy()
    turned = left if nearly is None else nearly(left)
    direction, size = turned.copy(), (left * turned).sum(0)
    first = (left * left).sum(0)
    for _ in range(steps):
        moved = normal(direction)
        length = size / np.maximum((direction * moved).sum(0), 1e-30)
        found += length * direction
        left -= length * moved
        if ((left * left).sum(0) <= tolerance**2 * first).all():
            break
        turned = left if nearly is None else nearly(left)
        new = (left * turned).sum(0)
        direction = turned + new / np.maximum(size, 1e-30) * direction
        size = new
    return found


def _inverse_of_common(rows: Rows, weight: np.ndarray, middle: np.ndarray, alpha: float) -> Solve:
    """About the inverse of the normal matrix: exact among the commonest features, one by one for the others.

    The commonest features are what makes the problem badly conditioned, and many steps necessary.
    """
    from scipy.linalg import cho_factor, cho_solve

    squares = rows.multiply(rows).T @ weight
    diagonal = (squares - weight.sum() * middle**2 + alpha).astype(np.float32)
    common = np.sort(np.argsort(-squares, kind="stable")[:COMMON])
    table = rows.tocsc()[:, common].tocsr()
    gram = -weight.sum() * np.outer(middle[common], middle[common]).astype(float)
    for start in range(0, table.shape[0], BLOCK):
        part = table[start : start + BLOCK].toarray()
        gram += (part.T * weight[start : start + BLOCK]) @ part
    factor = cho_factor(gram + alpha * np.eye(len(common)))

    def nearly(left: np.ndarray) -> np.ndarray:
        found = left / diagonal[:, None]
        found[common] = cho_solve(factor, left[common])
        return np.asarray(found)

    return nearly


def _means(targets: Float[np.ndarray, "n target"], weight: Float[np.ndarray, " n"]) -> Float[np.ndarray, " target"]:
    known = ~np.isnan(targets) * weight[:, None]
    return np.asarray((np.nan_to_num(targets) * known).sum(0) / np.maximum(known.sum(0), 1e-12))


def folds_of(n: int, seed: int, groups: Sequence[str] = (), folds: int = FOLDS) -> np.ndarray:
    """The fold of each of n queries, drawn by `seed`, evenly within each group."""
    labels = np.array(groups if len(groups) == n else [""] * n)
    found, rng = np.zeros(n, int), np.random.default_rng(seed)
    for label in dict.fromkeys(labels.tolist()):
        members = np.flatnonzero(labels == label)
        found[rng.permutation(members)] = np.arange(len(members)) % folds
    return found


def sampled(n: int, seed: int, most: int) -> np.ndarray:
    """At most `most` of n queries, drawn by `seed`, in order; all of them up to LARGE."""
    if n <= LARGE:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def out_of_fold(
    rows: Rows,
    targets: np.ndarray,
    alphas: Sequence[float],
    fold: np.ndarray,
    weight: np.ndarray | None = None,
) -> dict[float, Float[np.ndarray, "n target"]]:
    """Predictions of `ridge` for each query by a fit that has not seen its fold, for each penalty."""
    found = {alpha: np.zeros(targets.shape) for alpha in alphas}
    w = np.ones(len(targets)) if weight is None else weight
    gram = similarity(rows, rows.T).astype(float) if len(targets) <= DUAL else None
    for f in range(int(fold.max()) + 1):
        seen, unseen = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        for alpha in alphas if len(seen) and len(unseen) else ():
            if gram is not None:
                parts = gram[np.ix_(seen, seen)], gram[np.ix_(unseen, seen)]
                found[alpha][unseen] = _by_kernel(*parts, targets[seen], alpha, w[seen])
            else:
                coefficients, intercept = ridge(rows[seen], targets[seen], alpha, w[seen])
                found[alpha][unseen] = rows[unseen] @ coefficients + intercept
    return found


def _by_kernel(
    gram: Float[np.ndarray, "n n"],
    others: Float[np.ndarray, "m n"],
    targets: Float[np.ndarray, "n target"],
    alpha: float,
    weight: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "m target"]:
    """Predictions of `ridge` for other rows, from products of rows alone: exact, and quick where rows are few."""
    share, mean = weight / weight.sum(), _means(targets, weight)
    middle = gram @ share
    centred = gram - middle - middle[:, None] + share @ middle
    solved = np.linalg.solve(centred + np.diag(alpha / weight), np.nan_to_num(targets - mean))
    away = others - middle - (others @ share)[:, None] + share @ middle
    return np.asarray(away @ solved + mean)


def balanced(groups: Sequence[str]) -> Float[np.ndarray, " n"]:
    """Weights under which every group counts the same, 1 on average."""
    _, index, count = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    return np.asarray(len(groups) / (len(count) * count[index]))


def difference_error(
    scores: Float[np.ndarray, "n model"], quality: Float[np.ndarray, "n model"], groups: Sequence[str] = ()
) -> float:
    """Mean squared error of the differences between models, which is all that routing needs, groups weighing the same.

    Scores and qualities are taken relative to their mean over the models whose quality is known.
    """
    known = ~np.isnan(quality)
    count = np.maximum(known.sum(1, keepdims=True), 1)
    wrong = np.where(known, scores - np.nan_to_num(quality), 0.0)
    wrong -= np.where(known, wrong.sum(1, keepdims=True) / count, 0.0)
    weight = balanced(groups) if len(groups) == len(scores) else np.ones(len(scores))
    return float((weight * (wrong**2).sum(1)).mean())


def routed(scores: Float[np.ndarray, "n model"], quality: Float[np.ndarray, "n model"], groups: Sequence[str]) -> float:
    """Mean quality of the models that `scores` choose, every group counting the same; unknown qualities are skipped.

    Of equal ones the first, as a router chooses (its models stand in an order of their own, see `Router`).
    """
    got = quality[np.arange(len(scores)), scores.argmax(1)]
    labels = np.array(groups if len(groups) == len(scores) else [""] * len(scores))
    means = [
        np.nanmean(got[labels == label]) for label in np.unique(labels) if not np.isnan(got[labels == label]).all()
    ]
    return float(np.mean(means)) if means else 0.0


def softmax_regression(
    rows: Rows, targets: Float[np.ndarray, "n class"], penalty: float, *, steps: int = 60
) -> tuple[Float[np.ndarray, "feature class"], Float[np.ndarray, " class"]]:
    """Coefficients and intercepts that minimise mean KL(targets || softmax(x W + b)) + penalty / (2 n) |W|^2.

    `targets` are distributions; one-hot rows make it logistic regression. L-BFGS, at most `steps` steps.
    """
    from scipy.optimize import minimize

    n, classes = targets.shape
    rows, active = _active(rows)
    transposed = rows.T.tocsr() if hasattr(rows, "tocsr") else rows.T

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat[classes:].reshape(-1, classes)
        logits = rows @ w + flat[:classes]
        logs = logits - logits.max(1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(1, keepdims=True))
        wrong = (np.exp(logs) - targets) / n
        gradient = np.concatenate([wrong.sum(0), (transposed @ wrong + penalty / n * w).ravel()])
        return float(-(targets * logs).sum() / n + penalty / (2 * n) * (w * w).sum()), gradient

    start = np.zeros(classes * (1 + rows.shape[1]))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 5}).x
    weight = found[classes:].reshape(-1, classes).astype(np.float32)
    return _spread(weight, active), found[:classes].astype(np.float32)


def softmax(logits: Float[np.ndarray, "n class"]) -> Float[np.ndarray, "n class"]:
    """Rows of positive numbers that sum to 1."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


def sketch(rows: Rows, size: int = 1024) -> Float[np.ndarray, "n size"]:
    """Rows in few dense dimensions: hashed columns folded with random-looking signs, so cosines are nearly kept.

    Dense rows (embeddings) are small enough and stay as they are.
    """
    if not hasattr(rows, "indptr"):
        return np.asarray(rows, np.float32)
    return np.asarray((rows @ _fold(rows.shape[1], size)).toarray(), np.float32)


@lru_cache(maxsize=2)
def _fold(columns: int, size: int) -> Rows:
    from scipy.sparse import csr_matrix

    number = np.arange(columns, dtype=np.uint64)
    mixed = (number * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)
    sign = np.where(mixed >> np.uint64(30) & np.uint64(1), 1.0, -1.0).astype(np.float32)
    place = (mixed % np.uint64(size)).astype(np.int64)
    return csr_matrix((sign, (number.astype(np.int64), place)), shape=(columns, size))
