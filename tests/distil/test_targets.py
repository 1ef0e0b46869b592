"""Fusion functions: MinCE, AvgCE, weights, tails, collisions, units; the guards of the specification by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from consort.core.errors import BadParameter
from consort.distil import Alignment, Document, Function, Fusion, Online, align
from consort.distil.batches import fusion_loss, parts
from consort.distil.rows import Rows
from consort.distil.targets import mix_weights, units
from consort.models import FakeTokenizer, FakeTokenModel

ABC = FakeTokenizer("abc ")


def plain(text: str, **more) -> Document:
    return Document(text, ((0, len(text.encode())),), **more)


def rows_of(p, ce=(), ends=()) -> Rows:
    """Rows with these probabilities of tokens 0, 1, .. each."""
    p = np.array(p, np.float64)
    with np.errstate(divide="ignore"):
        logp, tail = np.log(p).astype(np.float32), np.log(1 - p.sum(1)).astype(np.float32)
    ids = np.broadcast_to(np.arange(p.shape[1]), p.shape)
    ends = np.array(ends or range(len(p) + 1), np.int64)
    return Rows(ids, logp, tail, np.array(ce or [0.0] * len(p), np.float32), ends[:-1], ends[1:])


class Given:
    """A source whose rows are given."""

    tokenizer = ABC

    def __init__(self, rows: Rows) -> None:
        self.given = rows

    def rows(self, document: Document) -> Rows | None:
        return self.given


class Straight:
    """An alignment of equal tokenizers."""

    def __init__(self, size: int = 6) -> None:
        self.ids = np.arange(size)

    def partners(self, document: Document) -> np.ndarray:
        return np.arange(len(document.spelled(ABC)) - 1)


def test_avg_ce_weights_by_hand():
    assert mix_weights([1, 2]).tolist() == pytest.approx([0.557875, 0.442125], abs=1e-6)
    assert mix_weights([1, 2], "reward").tolist() == pytest.approx([0.731059, 0.268941], abs=1e-6)


def test_min_ce_per_byte_and_per_token():
    """10 tokens and 20 nats against 20 tokens and 30 nats on the same 40 bytes."""
    document = Document("x" * 40, ((0, 40),), whole=False)
    coarse = rows_of([[0.5]] * 10, [2.0] * 10, range(0, 44, 4))
    fine = rows_of([[0.5]] * 20, [1.5] * 20, range(0, 42, 2))
    for ce_unit, wanted in (("byte", 0), ("token", 1)):
        options = Function(pivot=False, ce_unit=ce_unit)
        sources = [(Given(r), Straight()) for r in (coarse, fine)]
        fusion = Fusion(ABC, None, sources, options, Alignment())
        unit = units(document, coarse.next_end, "turn")
        rates = np.stack([fusion._rate(document, r, None, unit) for r in (coarse, fine)])[:, 0]
        assert rates.argmin() == wanted
        if ce_unit == "byte":
            assert (rates / math.log(2)).tolist() == pytest.approx([0.7213, 1.0820], abs=1e-4)


@pytest.mark.parametrize(("tail", "p", "rest"), [("renormalise", 1.0, 0), ("bucket", 0.75, 0.25), ("ignore", 0.75, 0)])
def test_tails(tail, p, rest):
    document = plain("ab", whole=False)
    source = Given(rows_of([[0.75, 0, 0]] * 2))
    found = Fusion(ABC, None, [(source, Straight())], Function(pivot=False, tail=tail), Alignment()).target(document)
    assert found.p.sum(1).tolist() == pytest.approx([p, p])
    assert found.rest.tolist() == pytest.approx([rest, rest])


def test_temperature_flattens_what_is_kept():
    document = plain("a", whole=False)
    source = Given(rows_of([[0.8, 0.2]]))
    options = Function(pivot=False, temperature=2.0)
    found = Fusion(ABC, None, [(source, Straight())], options, Alignment()).target(document)
    assert sorted(found.p[0].tolist()) == pytest.approx([1 / 3, 2 / 3])


def test_units():
    document = Document("ab cd", ((0, 2), (3, 5)))
    ends = np.arange(1, 7)
    assert units(document, ends, "turn").tolist() == [0, 0, -1, 1, 1, 1]
    assert units(document, ends, "sample").tolist() == [0, 0, -1, 0, 0, 0]
    assert units(document, ends, "token").tolist() == [0, 1, -1, 2, 3, 4]


def two(unit: str, texts=()) -> Fusion:
    """Two candidates: the first is right on a's, the second on b's."""

    class Likes:
        tokenizer = ABC

        def __init__(self, letter: str) -> None:
            self.letter = letter

        def rows(self, document):
            spelled = document.spelled(ABC)
            ce = [0.1 if t == ABC.alphabet.index(self.letter) else 1.0 for t in spelled.ids[1:].tolist()]
            return rows_of([[0.6, 0.2]] * len(ce), ce, spelled.ends.tolist())

    options = Function(pivot=False, unit=unit)
    sources = [(Likes(letter), Straight()) for letter in "ab"]
    return Fusion(ABC, None, sources, options, Alignment(), documents=texts)


def test_each_unit_takes_its_own_best():
    document = Document("aab bba", ((0, 3), (4, 7)), whole=False)
    assert two("turn").target(document).chosen.tolist() == [0, 1]
    assert two("sample").target(document).chosen.tolist() == [0]  # equal: the earlier
    assert two("token").target(document).chosen.tolist() == [0, 0, 1, 1, 1, 0]


def test_a_group_goes_by_most_of_its_answers():
    texts = [plain(t, whole=False, group=g) for g, t in (("x", "a"), ("x", "aab"), ("x", "bbbbbbb"), ("y", "b"))]
    fusion = two("group", texts)
    assert [fusion.target(t).chosen.tolist() for t in texts] == [[0], [0], [0], [1]]
    with pytest.raises(BadParameter, match="min_ce only"):
        Fusion(ABC, None, [], Function(function="avg_ce", unit="group"), Alignment())


def test_mixtures_use_those_that_have_a_row():
    class Half(Straight):
        def partners(self, document):
            return np.array([0, -1])

    document = plain("ab", whole=False)
    sources = [(Given(rows_of([[1.0, 0]] * 2)), Straight()), (Given(rows_of([[0, 1.0]] * 2)), Half())]
    options = Function(function="weighted", weights=(1.0, 3.0), pivot=False)
    found = Fusion(ABC, None, sources, options, Alignment()).target(document)
    dense = [{int(i): float(v) for i, v in zip(found.ids[n], found.p[n], strict=True) if v} for n in range(2)]
    assert dense == [{0: 0.25, 1: 0.75}, {0: 1.0}]
    with pytest.raises(BadParameter, match="1 weights"):
        Fusion(ABC, None, sources, Function(function="weighted", weights=(1.0,), pivot=False), Alignment())


def cycle() -> FakeTokenModel:
    """a, b, c, a, ..: what comes next is certain."""
    table = np.full((6, 6), 1e-9)
    for before, after in ((0, 1), (1, 2), (2, 0), (3, 0), (4, 0), (5, 0)):
        table[before, after] = 1.0
    return FakeTokenModel.bigram(table.tolist(), ABC)


@pytest.mark.parametrize("unaligned", ["mask", "one_hot"])
def test_the_target_at_a_position_is_the_next_token(tmp_path, unaligned):
    document = plain("abcabc", whole=False)
    alignment = Alignment(unaligned=unaligned)
    pair = align(ABC, ABC, [document], tmp_path / "pair", alignment)
    source = Online(cycle(), 1)
    if unaligned == "one_hot":
        pair.ids[:] = -1  # nothing is translated: every target is the text's next token
    fusion = Fusion(ABC, None, [(source, pair)], Function(pivot=False, tail="renormalise"), alignment)
    found = fusion.target(document)
    assert found.label.tolist() == found.tokens[1:].tolist()
    assert found.ids[np.arange(len(found.at)), found.p.argmax(1)].tolist() == found.tokens[1:].tolist()
    assert found.p.max(1).tolist() == pytest.approx([1.0] * 6)


def test_the_error_of_the_released_code_can_be_reproduced(tmp_path):
    document = plain("abc", whole=False)
    alignment = Alignment(unaligned="one_hot", fallback="current_token")
    pair = align(ABC, ABC, [document], tmp_path / "pair", alignment)
    pair.ids[:] = -1
    fusion = Fusion(ABC, None, [(Online(cycle(), 1), pair)], Function(pivot=False), alignment)
    assert fusion.target(document).ids[:, 0].tolist() == fusion.target(document).tokens[:-1].tolist()


def test_the_same_tokenizer_gives_the_source_rows_bit_for_bit(tmp_path):
    model = FakeTokenModel.random(3, ABC)
    document = plain("abca cab")
    pair = align(ABC, FakeTokenizer("abc "), [document], tmp_path / "pair", Alignment())
    source = Online(model, 3)
    rows = source.rows(document)
    fusion = Fusion(ABC, None, [(source, pair)], Function(pivot=False, tail="ignore"), Alignment())
    found = fusion.target(document)
    assert (found.ids == rows.ids).all()
    assert (found.p == np.exp(rows.logp.astype(np.float64))).all()


def test_a_model_fused_with_itself_starts_at_the_entropy_of_its_rows(tmp_path):
    model = FakeTokenModel.random(4, ABC)
    document = plain("abc cab")
    pair = align(ABC, ABC, [document], tmp_path / "pair", Alignment())
    source = Online(model, ABC.vocab_size)
    target = Fusion(ABC, source, [(source, pair)], Function(), Alignment()).target(document)
    assert target.chosen.tolist() == [0]  # the pivot, of two equals
    (batch,) = parts([target], 0.0, 1)
    logits = model.open(1).feed([target.tokens.tolist()])[0][None]
    own = logits[0, :-1].softmax(-1)
    entropy = float(torch.special.entr(own).sum(-1).mean())
    assert float(fusion_loss(logits, batch)[1]) == pytest.approx(entropy, abs=1e-5)
