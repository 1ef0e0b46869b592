"""Maps of vocabularies: each rule by hand, collisions, the cache, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import Incompatible, Unsupported
from consort.models import FakeTokenizer
from consort.models.tokens.edit_distance import Nearest
from consort.models.tokens.vocabulary_map import CoOccurrences, Met, vocabulary_map


class Words(FakeTokenizer):
    """Tokens that are words; the last is the end of a text."""

    def __init__(self, *words: str) -> None:
        super().__init__("ab")
        self.words = words
        self.vocab_size, self.bos, self.eos = len(words) + 1, None, len(words)
        self.vocabulary_key = "+".join(words)

    def decode(self, tokens):
        return "".join(self.words[t] for t in tokens if t < len(self.words))


PIVOT = Words("cat", "car", "dog", "un", "house")
SOURCE = Words("cat", "cars", "horse", "dogs")


def met(*triples):
    columns = np.array(sorted(triples, key=lambda t: (t[1], t[0])), np.int64).reshape(-1, 3).T
    return Met(columns[0], columns[1], columns[2])


def test_exact_and_min_edit():
    assert vocabulary_map(SOURCE, PIVOT, "exact").tolist() == [0, -1, -1, -1, 5]
    assert vocabulary_map(SOURCE, PIVOT, "min_edit").tolist() == [0, 1, 4, 2, 5]


def test_statistics_takes_what_was_met_most_often():
    counts = met((2, 1, 3), (1, 1, 2), (3, 2, 1), (4, 2, 1), (1, 0, 9))
    assert vocabulary_map(SOURCE, PIVOT, "statistics", counts).tolist() == [0, 2, 4, -1, 5]


def test_official_weighs_distance_by_the_sigmoid_of_the_count():
    counts = met((2, 1, 30), (1, 1, 1), (0, 0, 1))
    found = vocabulary_map(SOURCE, PIVOT, "official", counts)
    assert found.tolist() == [0, 1, 5, 5, 5]  # never met: the pivot's end, it has no unknown token


def test_first_piece_is_the_longest_beginning():
    assert vocabulary_map(Words("undo", "zebra", "cat"), PIVOT, "first_piece").tolist() == [3, -1, 0, 5]


def test_one_vocabulary_is_the_identity():
    assert vocabulary_map(PIVOT, Words(*PIVOT.words), "statistics").tolist() == list(range(6))


def test_meetings_are_summed():
    counted = CoOccurrences(10)
    counted.add(np.array([1, 2, 1]), np.array([5, 5, 5]))
    counted.add(np.array([1]), np.array([5]))
    found = counted.met()
    assert [found.pivot.tolist(), found.source.tolist(), found.times.tolist()] == [[1, 2], [5, 5], [3, 1]]


def test_a_map_is_kept_on_disk_and_read_again(tmp_path, monkeypatch):
    first = vocabulary_map(SOURCE, PIVOT, "min_edit", cache=tmp_path)
    monkeypatch.setattr(Nearest, "many", lambda self, texts: pytest.fail("made again"))
    assert vocabulary_map(SOURCE, PIVOT, "min_edit", cache=tmp_path).tolist() == first.tolist()
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"torn")
    monkeypatch.undo()
    assert vocabulary_map(SOURCE, PIVOT, "min_edit", cache=tmp_path).tolist() == first.tolist()


def test_refusals():
    with pytest.raises(Unsupported, match="needs counts"):
        vocabulary_map(SOURCE, PIVOT, "statistics")
    other = Words("x", "y")
    other.eos = None
    with pytest.raises(Incompatible, match="no token has a counterpart"):
        vocabulary_map(other, PIVOT, "exact")


@given(
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=30), st.lists(st.binary(max_size=12), max_size=5)
)
def test_the_index_finds_what_comparing_all_finds(pieces, texts):
    nearest = Nearest(pieces)
    for text in texts:
        apart = nearest.distances(text)
        assert nearest(text) == int(nearest.ids[apart.argmin()])
