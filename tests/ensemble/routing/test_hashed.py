"""Hashed n-grams of words: scikit-learn's columns, whatever the letters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.ensemble.routing.hashed import word_grams


def test_columns_by_hand() -> None:
    # MurmurHash3_x86_32, seed 0, of " a", "a " and " a ", by scikit-learn's murmurhash3_32, absolute, modulo 1000
    found = word_grams(["a"], 2, 3, 1000)
    assert sorted(found.indices.tolist()) == [39, 505, 632] and found.sum() == 3


@pytest.mark.parametrize("lengths", [(2, 4), (1, 1), (3, 6)])
@given(st.lists(st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=9), min_size=1, max_size=9))
def test_rows_are_those_of_scikit_learn(lengths: tuple[int, int], words: list[str]) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    words = [word.lower() for word in words]
    wanted = text.HashingVectorizer(
        analyzer="char_wb", ngram_range=lengths, n_features=2**12, alternate_sign=False, norm=None, dtype=np.float32
    ).transform(words)
    assert (word_grams(words, *lengths, 2**12) != wanted).nnz == 0
