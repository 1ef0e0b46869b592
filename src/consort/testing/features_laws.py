"""Laws of features: rows of length 1 that are a matter of a text alone, and that a state gives again."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from consort.ensemble.before import before
from consort.ensemble.features import features
from consort.testing import router_laws
from consort.testing.law import Law
from consort.testing.planned import planned

KINDS = ("features",)
TEXTS = router_laws.observed().queries[::3]
ODD = ("", " ", "\U0001f9ed", "word " * 300)


def made(name: str) -> Any:
    """The features, as a plan makes them."""
    return planned(features, name)


@cache
def encoder(name: str) -> Any:
    """The encoder of some texts."""
    return made(name).fitted(TEXTS)


def dense(rows: Any) -> np.ndarray:
    """Rows as an array."""
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float32)


def rows_have_length_one(name: str) -> None:
    """A row for each text, of finite numbers and length 1; of length 0 for a text that says nothing."""
    rows = dense(encoder(name).rows([*TEXTS[:8], *ODD]))
    assert rows.shape[0] == 8 + len(ODD), f"{rows.shape[0]} rows of {8 + len(ODD)} texts"
    assert np.isfinite(rows).all(), "a feature is no finite number"
    lengths = np.linalg.norm(rows, axis=1)
    assert all(abs(x - 1) < 1e-3 or x == 0 for x in lengths), (
        f"rows of length {sorted({round(float(x), 3) for x in lengths})}"
    )


def rows_are_those_of_texts_alone(name: str) -> None:
    """Alone or beside others, first or later, a text has the same row; another text another."""
    together = dense(encoder(name).rows(TEXTS))
    for i in (5, 0, len(TEXTS) - 1):
        np.testing.assert_allclose(dense(encoder(name).rows([TEXTS[i]]))[0], together[i], atol=1e-5)
    assert any((row != together[0]).any() for row in together), "all texts have one row"


def fitting_is_deterministic(name: str) -> None:
    """Fitted twice on the same texts it gives the same rows."""
    one, other = (dense(made(name).fitted(TEXTS).rows(TEXTS)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def a_state_gives_them_again(name: str) -> None:
    """What `arrays` says is enough for `restored` to give the same rows."""
    arrays = encoder(name).arrays()
    assert all(isinstance(array, np.ndarray) for array in arrays.values()), "a state is named arrays"
    again = made(name).restored(arrays)
    assert again is not None, "it does not know its own state"
    np.testing.assert_allclose(dense(again.rows(TEXTS)), dense(encoder(name).rows(TEXTS)), atol=1e-6)


def a_router_sees_by_them(name: str) -> None:
    """In a plan `knn: {features: NAME}` a router is fitted, decides alike each time, and keeps its state."""

    def build(members: Any) -> Any:
        return before.get("knn")(members, features=made(name), k=3)

    router_laws.is_deterministic(build)
    router_laws.keeps_its_state(build)


LAWS: tuple[Law, ...] = (
    rows_have_length_one,
    rows_are_those_of_texts_alone,
    fitting_is_deterministic,
    a_state_gives_them_again,
    a_router_sees_by_them,
)
