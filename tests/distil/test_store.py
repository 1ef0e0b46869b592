"""The store: bytes a row, identical after a kill, read through a map, refusals."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from consort.core.errors import BadCheckpoint, BadData, Incompatible, OutputExists
from consort.distil import Collection, Document, Store, collect
from consort.distil import store as module
from consort.distil.rows import read_rows
from consort.models import FakeTokenizer, FakeTokenModel

ABC = FakeTokenizer("abcdefghij ")
MODEL = FakeTokenModel.random(1, ABC)
TEXTS = [Document(t, ((0, len(t)),)) for t in ("abc", "b", "", "hij abc", "jjj", "a b c d", "cab")]
OPTIONS = Collection(k=4, shard=3)


class Killed(BaseException): ...


def collected(folder, options=OPTIONS, model=MODEL, texts=TEXTS):
    return collect(lambda: model, model.tokenizer, texts, folder, options, stamp="m")


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("mass", [None, 0.6])
def test_rows_come_back_as_they_were(tmp_path, mass):
    store = collected(tmp_path / "rows", Collection(k=4, shard=3, mass=mass))
    for document, rows in zip(TEXTS, read_rows(MODEL, TEXTS, 4, mass), strict=True):
        found = store.rows(document)
        assert found.end.tolist() == rows.end.tolist()
        assert found.next_end.tolist() == rows.next_end.tolist()
        assert found.ce.tolist() == rows.ce.tolist()
        for n in range(len(rows)):
            have, want = (
                {int(i): v for i, v in zip(r.ids[n], r.logp[n], strict=True) if np.isfinite(v)} for r in (found, rows)
            )
            assert have == pytest.approx(want, rel=1e-3, abs=1e-4)
            assert math.exp(found.tail[n]) == pytest.approx(math.exp(rows.tail[n]), abs=1e-3)
            if mass:
                assert 1 - math.exp(rows.tail[n]) >= mass - 1e-6 or len(want) == 4
    assert store.rows(Document("zz", ((0, 2),))) is None


@pytest.mark.parametrize("mass", [None, 0.6])
def test_a_last_document_of_one_token_has_no_rows(tmp_path, mass):
    texts = [Document("ab", ((0, 2),), whole=False), Document("", ((0, 0),), whole=False)]
    store = collected(tmp_path / "rows", Collection(k=4, mass=mass), texts=texts)
    assert [len(store.rows(text)) for text in texts] == [len(text.spelled(ABC)) - 1 for text in texts]
    assert len(store.rows(texts[1])) == 0


def test_probabilities_and_losses_are_those_of_the_model():
    (rows,) = read_rows(MODEL, [TEXTS[0]], 4, None)
    tokens = TEXTS[0].spelled(ABC).ids.tolist()
    for n in range(len(rows)):
        logits = np.array(MODEL.logits(tuple(tokens[: n + 1])))
        p = np.exp(logits) / np.exp(logits).sum()
        assert rows.ids[n].tolist() == np.argsort(-p)[:4].tolist()
        assert rows.ce[n] == pytest.approx(-math.log(p[tokens[n + 1]]), abs=1e-4)
        assert math.exp(rows.tail[n]) == pytest.approx(1 - np.sort(p)[-4:].sum(), abs=1e-5)


def test_a_killed_run_ends_with_the_same_bytes(tmp_path, monkeypatch):
    collected(tmp_path / "whole")
    real, calls = module.read_rows, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(module, "read_rows", dies)
    with pytest.raises(Killed):
        collected(tmp_path / "killed")
    with pytest.raises(BadData, match="no finished store"):
        Store(tmp_path / "killed", ABC)
    before = files(tmp_path / "killed")
    collected(tmp_path / "killed")
    after = files(tmp_path / "killed")
    assert after == files(tmp_path / "whole")
    assert after["rows-00000.safetensors"] == before["rows-00000.safetensors"]
    assert len(calls) == 4  # the first shard once, the second twice, the third once


def test_a_finished_store_asks_for_no_model(tmp_path):
    collected(tmp_path / "rows")
    collect(lambda: pytest.fail("loaded"), ABC, TEXTS, tmp_path / "rows", OPTIONS, stamp="m")
    with pytest.raises(OutputExists, match="another run"):
        collect(lambda: MODEL, ABC, TEXTS, tmp_path / "rows", OPTIONS, stamp="other")


def long_texts():
    return [Document(f"{'abcdefghij ' * 40}{'abc'[n]}", ((0, 441),)) for n in range(3)]


def test_at_most_sixty_bytes_a_row(tmp_path):
    texts = long_texts()
    store = collected(tmp_path / "rows", Collection(k=10, shard=8), texts=texts)
    rows = sum(len(store.rows(text)) for text in texts)
    size = sum(file.stat().st_size for file in (tmp_path / "rows").glob("*.safetensors"))
    assert size <= 60 * rows


def test_reading_a_document_does_not_load_its_shard(tmp_path):
    texts = [Document(f"{'abcdefghij ' * 30}{a}{b}", ((0, 332),)) for a in "abcdefghij" for b in "abcdef"]
    store = collected(tmp_path / "rows", Collection(k=10, shard=1000), texts=texts)
    shard = (tmp_path / "rows" / "rows-00000.safetensors").stat().st_size
    store.rows(texts[0])
    tracemalloc.start()
    store.rows(texts[7])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < shard / 10


def test_a_teacher_of_nan_is_refused_and_leaves_no_shard(tmp_path):
    broken = FakeTokenModel(lambda tokens: [math.nan] * ABC.vocab_size, ABC, name="broken")
    with pytest.raises(BadCheckpoint, match="broken: its predictions are not finite"):
        collected(tmp_path / "rows", model=broken)
    assert not list((tmp_path / "rows").glob("*.safetensors"))


def test_other_vocabularies_and_other_texts_are_refused(tmp_path):
    store = collected(tmp_path / "rows")
    with pytest.raises(Incompatible, match="another vocabulary"):
        Store(tmp_path / "rows", FakeTokenizer("ab"))
    assert store.check_overlap([TEXTS[1], Document("dd", ((0, 2),))]) == 1
    with pytest.raises(Incompatible, match="none of the corpus"):
        store.check_overlap([Document("dd", ((0, 2),))])


def test_a_document_beyond_the_window_is_refused(tmp_path):
    small = FakeTokenModel(MODEL.logits, ABC, name="small", window=3)
    with pytest.raises(BadData, match="its window 3"):
        collected(tmp_path / "rows", model=small)
