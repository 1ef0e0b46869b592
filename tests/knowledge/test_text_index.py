"""An index of words: BM25 by the book, what it keeps, and what it refuses."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from consort.core.errors import BadData, BadParameter
from consort.knowledge.order import best, ranks
from consort.knowledge.passages import Passage
from consort.knowledge.text_index import TextIndex
from consort.knowledge.vectors import nearest
from consort.knowledge.words import Words

RNG = random.Random(0)
WORDS = [f"w{i}" for i in range(300)]
DOCUMENTS = [
    " ".join(RNG.choices(WORDS, weights=[1 / (i + 1) for i in range(300)], k=RNG.randint(1, 60))) for _ in range(200)
]
QUERIES = [" ".join(RNG.choices(WORDS, k=RNG.randint(1, 6))) for _ in range(50)]


def reference(documents: list[str], query: str, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """BM25 as it is written down, with Lucene's weights of words."""
    split = [d.split() for d in documents]
    mean = sum(map(len, split)) / len(split)
    scores = [0.0] * len(split)
    for word in query.split():
        often = sum(word in d for d in split)
        rarity = math.log(1 + (len(split) - often + 0.5) / (often + 0.5))
        for i, d in enumerate(split):
            tf = d.count(word)
            scores[i] += rarity * tf / (tf + k1 * (1 - b + b * len(d) / mean))
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (0.001, 0)])
def test_bm25_equals_the_reference(k1: float, b: float) -> None:
    index = TextIndex.of(DOCUMENTS)
    for query in QUERIES:
        wanted = reference(DOCUMENTS, query, k1, b)
        found = {int(hit.id) - 1: hit.score for hit in index.bm25(query, 200, k1=k1, b=b)}
        assert set(found) == {i for i, score in enumerate(wanted) if score > 0}
        for i, score in found.items():
            assert score == pytest.approx(wanted[i], abs=1e-6)


def test_bm25_equals_bm25s() -> None:
    bm25s = pytest.importorskip("bm25s")
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    peer.index([d.split() for d in DOCUMENTS], show_progress=False)
    index = TextIndex.of(DOCUMENTS)
    for query in QUERIES:
        wanted = peer.get_scores(query.split())
        for hit in index.bm25(query, 200):
            assert hit.score == pytest.approx(float(wanted[int(hit.id) - 1]), abs=1e-5)  # bm25s adds in float32


def test_an_index_survives_a_folder(tmp_path) -> None:
    words = Words(stop=True, stem="english")
    made = TextIndex.of(
        [Passage(f"d{i}", text, "book.txt", (i, i + 9)) for i, text in enumerate(DOCUMENTS)], words=words
    )
    made.save(tmp_path / "index")
    read = TextIndex.open(tmp_path / "index")
    assert read.words == words
    assert isinstance(read.postings.places.base, np.memmap) or isinstance(read.postings.places, np.memmap)
    for query in QUERIES:
        assert read.bm25(query, 7) == made.bm25(query, 7)
    assert read.bm25("nowhere", 3) == []
    hit = read.bm25(QUERIES[0], 1)[0]
    assert (hit.source, hit.span[1] - hit.span[0]) == ("book.txt", 9)


def test_words_of_any_script() -> None:
    assert Words().of("Ångström ﬁne ２") == ["ångström", "fine", "2"]
    assert Words().of("東京 tower") == ["東京", "tower"]
    assert Words().of("私は猫") == ["私は", "は猫"]
    index = TextIndex.of(["吾輩は猫である", "東京に行く", "a cat"])
    assert [hit.id for hit in index.bm25("猫である", 3)] == ["1"]


def test_ids_are_told_apart() -> None:
    assert ranks(["d10", "d2", "d1"]).tolist() == [2, 1, 0]
    index = TextIndex.of([Passage("d10", "same"), Passage("d9", "same"), Passage("d8", "same text")])
    assert [hit.id for hit in index.bm25("same", 3)] == ["d9", "d10", "d8"]
    with pytest.raises(BadData, match="'a'"):
        TextIndex.of([Passage("a", "x"), Passage("a", "y")])


@pytest.mark.parametrize("block", [1, 7, 1000, 65536])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_nearest_equals_a_full_sort(block: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    n = 10_000 if block > 7 else 500
    vectors = rng.normal(size=(n, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[n // 2] = vectors[3]  # twins, far apart
    vectors = vectors.astype(dtype)
    queries = np.concatenate([vectors[[3]].astype(np.float32), vectors[:8].astype(np.float32)[::-1]])
    rank = rng.permutation(n)
    exact = (vectors.astype(np.float64)[:, None] * queries.astype(np.float64)).sum(-1).T
    for q, (at, scores) in enumerate(nearest(vectors, queries, 10, rank, block)):
        order = best(scores, rank[at], 10)
        assert at[order].tolist() == np.lexsort((rank, -exact[q]))[:10].tolist()


def _spoil(folder, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 0x55
    (folder / name).write_bytes(bytes(data))


NAMES = ["passages.txt", "passages.ids", "passages.npy", "words.txt", "words.npy", "postings.npy", "counts.npy"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["spoilt", "cut", "gone"])
def test_a_damaged_index_is_named(tmp_path, name: str, how: str) -> None:
    TextIndex.of(DOCUMENTS[:20]).save(tmp_path)
    if how == "spoilt":
        _spoil(tmp_path, name)
    elif how == "cut":
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-3])
    else:
        (tmp_path / name).unlink()
    with pytest.raises(BadData, match=name.replace(".", r"\.")):
        TextIndex.open(tmp_path)


def test_a_header_that_says_less_is_refused(tmp_path) -> None:
    TextIndex.of(DOCUMENTS[:5]).save(tmp_path)
    file = tmp_path / "index.json"
    header = json.loads(file.read_text())
    for broken in ("{", "[]", json.dumps({**header, "words": {"stop": 3, "stem": "x"}}), json.dumps({"kind": "text"})):
        file.write_text(broken)
        with pytest.raises(BadData):
            TextIndex.open(tmp_path)
    file.write_text(json.dumps({**header, "kind": "graph"}))
    with pytest.raises(BadParameter, match="kind graph"):
        TextIndex.open(tmp_path)
    file.unlink()
    with pytest.raises(BadParameter, match="holds no index"):
        TextIndex.open(tmp_path)
