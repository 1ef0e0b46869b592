"""Verifiers that guide a model by Bayes' rule."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch

from consort.cooperate.transfer.fudge import Fudge
from consort.cooperate.transfer.gedi import Gedi, guided
from consort.cooperate.transfer.guided import Guided
from consort.core.errors import BadParameter, Incompatible
from consort.core.types import Sampling
from consort.models import FakeTokenizer, FakeTokenModel
from consort.testing import model_laws as laws

A, B, C = (FakeTokenModel.random(seed) for seed in range(3))
LETTERS = FakeTokenizer("abcdefghijkl", bos=False, eos=False)
TABLE = torch.randn(12, 12, generator=torch.Generator().manual_seed(0)).softmax(-1).double()


def accept(text: Sequence[int]) -> float:
    """p(attribute | three letters): some function of all of them."""
    return 0.05 + 0.9 * (sum((i + 1) * t for i, t in enumerate(text)) % 7) / 6


def attribute(text: tuple[int, ...]) -> float:
    """p(attribute | a beginning after the first letter), exactly: the mean over how the text may go on."""
    if len(text) == 4:
        return accept(text[1:])
    return sum(float(TABLE[text[-1], x]) * attribute((*text, x)) for x in range(12))


def test_guided_sampling_is_bayes_rule() -> None:
    """20,000 texts of three letters against p(x | attribute), summed exactly: chi square within 4 sigma."""
    known: dict[tuple[int, ...], float] = {}

    def verify(prefixes: Sequence[Sequence[int]], candidates: torch.Tensor) -> torch.Tensor:
        texts = [[(*prefix, x) for x in row] for prefix, row in zip(prefixes, candidates.tolist(), strict=True)]
        for text in set(itertools.chain(*texts)) - set(known):
            known[text] = math.log(attribute(text))
        return torch.tensor([[known[text] for text in row] for row in texts])

    model = FakeTokenModel.bigram(TABLE.tolist(), LETTERS)
    sampling = Sampling(max_tokens=3, temperature=1.0, seed=5)
    drawn = Counter(a.tokens for a in Guided(model, verify, top_k=12).generate(["a"] * 20000, sampling))
    joint = {
        text: float(TABLE[0, text[0]] * TABLE[text[0], text[1]] * TABLE[text[1], text[2]]) * accept(text)
        for text in itertools.product(range(12), repeat=3)
    }
    total, groups, wanted = sum(joint.values()), dict.fromkeys(range(144), 0), dict.fromkeys(range(144), 0.0)
    for text, p in joint.items():  # by the second and third letter, so that every group is expected often
        wanted[text[1] * 12 + text[2]] += p / total * 20000
        groups[text[1] * 12 + text[2]] += drawn[text]
    square = sum((groups[g] - n) ** 2 / n for g, n in wanted.items())
    freedom = len(wanted) - 1
    assert abs(square - freedom) / math.sqrt(2 * freedom) < 4


def test_top_k_only_leaves_out() -> None:
    (tokens,) = laws.rows_of(A, [15])
    full = Fudge(A, B, positive="a", negative="b", top_k=6).open().feed([tokens])[0]
    few = Fudge(A, B, positive="a", negative="b", top_k=3).open().feed([tokens])[0]
    kept = few > -torch.inf
    assert kept.sum(-1).tolist() == [3] * 15
    torch.testing.assert_close(few[kept], full[kept])


def test_fudge_equals_asking_about_every_text() -> None:
    head = A.tokenizer.encode("abca")
    got = Fudge(A, B, positive="a", negative="b", question="cc", top_k=6, lambda_=2.0).open().feed([head])[0][-1]
    base = A.open().feed([head])[0][-1].log_softmax(-1)
    for token in range(6):
        asked = B.open().feed([[*head, token, 2, 2]])[0][-1]
        assert float(got[token]) == pytest.approx(float(base[token] + 2 * asked[:2].log_softmax(-1)[0]), abs=1e-5)


def test_gedi_equals_its_formula() -> None:
    text = [4, 0, 2, 1]
    got = Gedi(A, B, desired="a", undesired="b", omega=3.0, filter_p=1.0, bias=0.2).open().feed([text])[0][-1]
    classes = []
    for code in (0, 1):
        logp = B.open().feed([[4, code, *text[1:]]])[0].log_softmax(-1)
        past = sum(float(logp[i + 1, token]) for i, token in enumerate(text[1:]))
        classes.append((past + logp[-1]) / 4)
    verdict = torch.stack([classes[0] + 0.2, classes[1]]).log_softmax(0)[0]
    torch.testing.assert_close(got, A.open().feed([text])[0][-1].log_softmax(-1) + 3 * verdict, atol=1e-5, rtol=1e-5)


def test_gedi_filter_by_hand() -> None:
    logp, verdict = torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.1, 0.9, 0.5]]).log()
    kept = guided(logp, verdict, 0.0, filter_p=0.4, target_p=0.95) > -torch.inf
    assert kept.tolist() == [[False, True, True]]  # 1 has mass .3, 2 reaches .5
    kept = guided(logp, verdict, 0.0, filter_p=0.2, target_p=0.45) > -torch.inf
    assert kept.tolist() == [[False, True, True]]
    assert bool((guided(logp, verdict, 1.0) > -torch.inf).all())


@pytest.mark.parametrize(
    "model",
    [
        Fudge(A, B, positive="a", negative="b", top_k=6, lambda_=0.0),
        Gedi(A, B, desired="a", undesired="b", omega=0.0, filter_p=1.0),
    ],
    ids=["fudge", "gedi"],
)
def test_the_neutral_setting_is_the_base(model: Fudge | Gedi) -> None:
    for sampling in (Sampling(max_tokens=9), Sampling(max_tokens=9, temperature=1.0)):
        got, wanted = (m.generate(["abc", "b"], sampling) for m in (model, A))
        assert [a.tokens for a in got] == [a.tokens for a in wanted]


def test_bad_arguments_are_named() -> None:
    other = FakeTokenModel.random(1, FakeTokenizer("xyz"), name="other")
    with pytest.raises(Incompatible, match="verifier"):
        Fudge(A, other)
    with pytest.raises(Incompatible, match="guide"):
        Gedi(A, other)
    with pytest.raises(BadParameter, match="do not begin with different tokens"):
        Fudge(A, B, positive="ab", negative="ac")
    with pytest.raises(BadParameter, match="undesired"):
        Gedi(A, B, desired="a", undesired="a")
