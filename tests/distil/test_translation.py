"""Rows over the pivot's tokens: maps, what a source spells out, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from consort.distil.rows import Rows
from consort.distil.translation import NextToken, merged, spelled_out, translated
from consort.models.tokens.ends import Spelled, same_end


def rows_of(p, came=(), ends=()) -> Rows:
    """Rows with these probabilities of tokens 0, 1, ..; `came` are those of the tokens that came."""
    p = np.array(p, np.float64)
    with np.errstate(divide="ignore"):
        logp, tail = np.log(p).astype(np.float32), np.log(1 - p.sum(1)).astype(np.float32)
    ids = np.broadcast_to(np.arange(p.shape[1]), p.shape)
    ends = np.array(ends or range(len(p) + 1), np.int64)
    return Rows(ids, logp, tail, -np.log(np.array(came or [1.0] * len(p), np.float32)), ends[:-1], ends[1:])


def spelled(ids, ends) -> Spelled:
    return Spelled(np.array(ids), np.array(ends))


# the text "xabyz": the source reads x a b yz (0 1 2 3), the pivot x ab y z (10 12 13 14)
SOURCE, PIVOT = spelled([0, 1, 2, 3], [1, 2, 3, 5]), spelled([10, 12, 13, 14], [1, 3, 4, 5])
MAP = np.array([10, 11, -1, 13])
ROWS = rows_of([[0, 0.8, 0.1, 0.1], [0, 0, 0.5, 0.5], [0, 0, 0, 0.9]], [0.8, 0.5, 0.9], [1, 2, 3, 5])


def came():
    taken = same_end(PIVOT.ends, SOURCE.ends)[:-1]
    assert taken.tolist() == [0, 2, -1]
    return taken, spelled_out(ROWS, taken, np.arange(3), PIVOT, SOURCE)


def test_a_token_in_several_pieces_has_the_product_of_their_probabilities():
    _, found = came()
    assert found.token.tolist() == [12, 13, 14]
    assert found.first[:2].tolist() == [1, 3]
    # "y" ends inside "yz", and "z" is not aligned: neither is following
    assert found.p.tolist() == pytest.approx([0.8 * 0.5, 0.0, 0.0])


def test_what_the_first_piece_has_beyond_it_stays_with_the_map():
    taken, following = came()
    ids, p, rest = translated(ROWS.take(taken), MAP, following)
    pairs = [zip(*row, strict=True) for row in zip(ids.tolist(), p.tolist(), strict=True)]
    rows = [{i: round(q, 6) for i, q in row if q > 1e-9} for row in pairs]
    assert rows[0] == {11: 0.4, 12: 0.4, 13: 0.1}
    assert rows[1] == {13: 0.9}
    assert (p.sum(1) + rest)[:2] == pytest.approx([1, 1], abs=1e-6)


def test_a_first_piece_that_was_not_kept_takes_from_the_tail():
    following = NextToken(np.array([12]), np.array([7]), np.array([0.05]))
    ids, p, rest = translated(rows_of([[0.5, 0.3]]), np.array([10, 11]), following)
    assert dict(zip(ids[0].tolist(), p[0].tolist(), strict=True)) == pytest.approx({10: 0.5, 11: 0.3, 12: 0.05})
    assert rest.tolist() == pytest.approx([0.15], abs=1e-6)


def test_what_is_dropped_goes_to_the_rest_and_what_falls_together_is_summed():
    rows = rows_of([[0.5, 0.2, 0.2]])
    ids, p, rest = translated(rows, np.array([1, 1, -1]))
    assert p[0][ids[0] == 1].sum() == p[0].max() == pytest.approx(0.7)
    assert p.sum() + rest[0] == pytest.approx(1)
    _, first, rest = translated(rows, np.array([1, 1, -1]), collisions="first")
    assert first.sum() == pytest.approx(0.5)
    assert first.sum() + rest[0] == pytest.approx(1)


def test_the_first_place_of_an_id_that_has_probability_keeps_it():
    ids, p = merged(np.array([[3, 3, 3]]), np.array([[0.0, 0.25, 0.5]]))
    assert p.tolist() == [[0, 0.75, 0]]
