"""Lists of vectors: all of them read, they find what the blocked search finds; some of them, most of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from consort.cooperate.retrieve.encoding import described
from consort.cooperate.retrieve.retrievers.dense import Dense
from consort.core.errors import BadData, BadParameter, MissingExtra
from consort.knowledge import inverted
from consort.knowledge.build import Settings, build
from consort.knowledge.inverted import Lists, count_of
from consort.knowledge.order import best
from consort.knowledge.text_index import LISTS
from consort.knowledge.vectors import nearest
from consort.models.hf.sentence_encoder import SentenceEncoder
from consort.testing.retriever_laws import tiny_encoder


def clustered(n: int, size: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    near = rng.standard_normal((20, size))[rng.integers(0, 20, n)] + 0.3 * rng.standard_normal((n, size))
    near[n // 2 :: 7] = near[3]  # equal vectors
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


def ids(found: list, rank: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
    orders = [(at, scores, best(scores, rank[at], k)) for at, scores in found]
    return [[(int(at[i]), float(scores[i])) for i in order] for at, scores, order in orders]


def test_all_lists_find_what_the_blocked_search_finds(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    vectors = clustered(3000)
    rank, queries = np.random.default_rng(1).permutation(3000), vectors[[3, 40, 2999]] + np.float32(0.01)
    lists = Lists.of(vectors, 50)
    lists.save(tmp_path / LISTS)
    for held in (lists, Lists.open(tmp_path / LISTS)):
        for k in (1, 10, 500):
            all_of_them = held.nearest(vectors, queries, k, rank, probes=50)
            assert ids(all_of_them, rank, k) == ids(nearest(vectors, queries, k, rank), rank, k)
    some = ids(lists.nearest(vectors, queries, 10, rank, probes=5), rank, 10)
    exact = ids(nearest(vectors, queries, 10, rank), rank, 10)
    found = [len({i for i, _ in a} & {i for i, _ in b}) for a, b in zip(some, exact, strict=True)]
    assert sum(found) >= 27
    assert some == [ids(lists.nearest(vectors, q[None], 10, rank, probes=5), rank, 10)[0] for q in queries]


def test_lists_are_the_same_when_made_again(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    for name in ("a", "b"):
        Lists.of(clustered(1000), 10).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:100])
    with pytest.raises(BadData, match="damaged"):
        Lists.open(tmp_path / "a")


def test_an_index_with_lists(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    from consort.cooperate.retrieve.retrievers.ivf import Ivf

    (tmp_path / "d.jsonl").write_text("".join(f'{{"text": "fox {i} likes hare"}}\n' for i in range(200)))
    encoder = SentenceEncoder(tiny_encoder())
    settings = Settings(encoder=described(tiny_encoder()), lists=4)
    folder = build([tmp_path / "d.jsonl"], tmp_path / "index", settings=settings, embed=encoder.embed)
    assert (folder / LISTS).is_file()
    queries = ["fox likes", "hare 7", " "]
    assert Ivf(index=folder, probes=4).search(queries, 5) == Dense(index=folder).search(queries, 5)
    again = Settings(encoder=described(tiny_encoder()))
    build([tmp_path / "d.jsonl"], folder, settings=again, embed=encoder.embed, force=True)
    assert not (folder / LISTS).exists()
    assert Ivf(index=folder).search(queries, 5) == Dense(index=folder).search(queries, 5)
    with pytest.raises(BadParameter, match="no vectors"):
        build([tmp_path / "d.jsonl"], tmp_path / "no", settings=Settings(lists=4))


def test_without_faiss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from consort.cooperate.retrieve.retrievers.ivf import Ivf

    monkeypatch.setattr(inverted, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="need faiss") as caught:
        Ivf(index="nowhere")
    assert caught.value.hint == "pip install 'consort[faiss]'"
    (tmp_path / "d.txt").write_text("A fox.")
    with pytest.raises(MissingExtra):
        build([tmp_path / "d.txt"], tmp_path / "index", settings=Settings(lists=4), embed=lambda texts: np.eye(1))
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(("vectors", "lists"), [(0, 1), (1, 1), (100, 2), (10**6, 4000)])
def test_how_many_lists(vectors: int, lists: int) -> None:
    assert count_of(vectors) == lists
