"""Logit arithmetic and its named methods on models whose probabilities are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from consort.cooperate.transfer.combined import Combined, decide_ties, plausible
from consort.cooperate.transfer.context_aware import ContextAware, after_separator
from consort.cooperate.transfer.contrastive import Contrastive
from consort.cooperate.transfer.contrastive_reasoning import ContrastiveReasoning
from consort.cooperate.transfer.logit_arithmetic import LogitArithmetic
from consort.cooperate.transfer.proxy import Proxy
from consort.cooperate.transfer.terms import Mask, Term
from consort.core.errors import BadParameter, Incompatible, Unsupported
from consort.core.types import Sampling
from consort.models import FakeModel, FakeTokenizer, FakeTokenModel, TokenModel
from consort.testing import model_laws as laws
from consort.testing.words import LETTERS, PAIRS

A, B, C = (FakeTokenModel.random(seed) for seed in range(3))
TWO = FakeTokenizer("ab", bos=False, eos=False)


def fixed(*p: float, name: str = "fixed") -> FakeTokenModel:
    """The same next-token probabilities everywhere."""
    tokenizer = FakeTokenizer("abcdefgh"[: len(p)], bos=False, eos=False)
    return FakeTokenModel.bigram([list(p)] * len(p), tokenizer, name=name)


def scores(model: TokenModel, tokens: tuple[int, ...] = (0,)) -> torch.Tensor:
    return model.open().feed([tokens])[0][-1]


def test_contrastive_by_hand() -> None:
    expert, amateur = fixed(0.5, 0.3, 0.15, 0.05), fixed(0.7, 0.1, 0.1, 0.1)
    got = scores(Contrastive(expert, amateur, strength=1.0, amateur_temperature=1.0, alpha=0.2))
    assert got[:3].tolist() == pytest.approx([math.log(5 / 7), math.log(3), math.log(1.5)], abs=1e-5)
    assert got[3] == -torch.inf
    assert int(got.argmax()) == 1


def test_proxy_by_hand() -> None:
    models = [FakeTokenModel(lambda t, x=x: [x, 0.0], TWO, name=str(x)) for x in (1.0, 2.0, 0.0)]  # type: ignore[misc]
    assert float(scores(Proxy(*models)).softmax(-1)[0]) == pytest.approx(0.952574, abs=1e-6)


def test_reasoning_is_its_formula() -> None:
    p, q = scores(A).log_softmax(-1), scores(B).log_softmax(-1)
    got = scores(ContrastiveReasoning(A, B, beta=0.5, alpha=0.0))
    torch.testing.assert_close(got.softmax(-1), (1.5 * p - 0.5 * q).softmax(-1))


NEUTRAL: dict[str, Callable[[], TokenModel]] = {
    "contrastive": lambda: Contrastive(A, B, strength=0.0, alpha=0.0),
    "contrastive_reasoning": lambda: ContrastiveReasoning(A, B, beta=0.0, alpha=0.0),
    "proxy": lambda: Proxy(A, B, C, alpha=0.0),
    "proxy of equals": lambda: Proxy(A, B, B),
    "context_aware": lambda: ContextAware(A, separator="b", alpha=0.0),
    "context_aware without context": lambda: ContextAware(A, separator="zz"),
    "logit_arithmetic": lambda: LogitArithmetic([A, B, C], weight=[1, 0, 0]),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_the_neutral_setting_is_the_base(name: str) -> None:
    model, prompts = NEUTRAL[name](), ["abc", "a", ""]
    (tokens,) = laws.rows_of(A, [20])
    torch.testing.assert_close(
        model.open().feed([tokens])[0].log_softmax(-1), A.open().feed([tokens])[0].log_softmax(-1), atol=1e-5, rtol=1e-5
    )
    for sampling in (Sampling(max_tokens=9), Sampling(max_tokens=9, temperature=1.0)):
        got, wanted = (m.generate(prompts, sampling) for m in (model, A))
        assert [a.tokens for a in got] == [a.tokens for a in wanted]


def test_an_expert_contrasted_with_itself_ties_and_its_favourite_wins() -> None:
    same = Contrastive(A, A, amateur_temperature=1.0)
    (tokens,) = laws.rows_of(A, [30])
    got, own = same.open().feed([tokens])[0], A.open().feed([tokens])[0]
    spread = got.where(got > -torch.inf, got.amax(-1, keepdim=True))
    assert float((got.amax(-1) - spread.amin(-1)).max()) < 1e-5
    assert got.argmax(-1).tolist() == own.argmax(-1).tolist()
    with pytest.raises(BadParameter, match="amateur: is the expert itself"):
        Contrastive(A, A)
    Contrastive(A, A, force=True)


def test_every_token_that_stays_is_plausible_to_the_anchor() -> None:
    (tokens,) = laws.rows_of(A, [40])
    p = A.open().feed([tokens])[0].softmax(-1)
    for alpha in (0.1, 0.5, 1.0):
        kept = Contrastive(A, B, alpha=alpha).open().feed([tokens])[0] > -torch.inf
        assert torch.equal(kept, p >= alpha * p.amax(-1, keepdim=True) * (1 - 1e-6))
    got = Contrastive(A, B, alpha=1.0).open().feed([tokens])[0].argmax(-1)
    assert torch.equal(got, p.argmax(-1))


def test_what_an_amateur_forbids_does_not_win_outside_the_mask() -> None:
    got = scores(Contrastive(fixed(0.89, 0.1, 0.01), fixed(0.5, 0.5, 0.0), alpha=0.05))
    assert got[2] == -torch.inf
    assert bool(torch.isfinite(got[:2]).all())


def test_constants_and_order_of_terms_change_nothing() -> None:
    moved = FakeTokenModel(lambda t: [x + 7 for x in B.logits(t)], name="moved")
    torch.testing.assert_close(scores(Proxy(A, moved, C)), scores(Proxy(A, B, C)), atol=1e-4, rtol=1e-4)
    one = Combined([Term(A), Term(B, 0.5), Term(C, -0.5)])
    other = Combined([Term(A), Term(C, -0.5), Term(B, 0.5)])
    torch.testing.assert_close(scores(one), scores(other))


def test_a_term_of_weight_0_costs_nothing_and_one_model_is_one_pass() -> None:
    (answer,) = LogitArithmetic([A, B, C], weight=[1, 0, -0.5]).generate(["abc"])
    assert set(answer.cost) == {A.name, C.name}
    (answer,) = Combined([Term(A), Term(A, -0.5, 2.0)]).generate(["abc"], Sampling(max_tokens=3))
    assert answer.cost[A.name].total_tokens == 4 + len(answer.tokens)


def test_padded_tables_are_cut() -> None:
    class Padded(FakeTokenModel):
        def open(self, batch: int = 1) -> Any:
            session = super().open(batch)
            plain = session.feed
            session.feed = lambda tokens, *, last=False: [  # type: ignore[method-assign]
                torch.cat([x, torch.full((len(x), 16), 50.0)], -1) for x in plain(tokens, last=last)
            ]
            return session

    padded = Padded(B.logits, name="padded")
    torch.testing.assert_close(scores(Proxy(A, padded, C)), scores(Proxy(A, B, C)))


def test_terms_with_another_tokenizer_speak_of_shared_tokens_only() -> None:
    team = Proxy(PAIRS, LETTERS, LETTERS, alpha=0.5)
    (head,) = [PAIRS.tokenizer.encode("cab")]
    got, own = scores(team, tuple(head)), scores(PAIRS, tuple(head))
    shared = [0, 1, 3, 6]  # b a c and the end
    torch.testing.assert_close(got[shared].softmax(-1), own[shared].softmax(-1), atol=1e-5, rtol=1e-5)
    assert bool((got[[2, 4, 5]] == -torch.inf).all())
    foreign = FakeTokenModel.random(1, FakeTokenizer("xyz"), name="foreign")
    with pytest.raises(Incompatible, match="foreign has only 0.0% of the tokens of letters"):
        Proxy(LETTERS, foreign, foreign)


def test_the_view_without_context() -> None:
    view = after_separator(A.tokenizer, " b")
    head = A.tokenizer.encode("ab a")
    assert list(view(head) or ()) == head
    assert list(view(A.tokenizer.encode("ab bac b")) or ()) == A.tokenizer.encode("ac b")


def test_context_aware_is_its_formula() -> None:
    team, tokens = ContextAware(A, separator="b", alpha=1.0), A.tokenizer.encode("cab ac")
    with_, without = (scores(A, tuple(A.tokenizer.encode(t))).log_softmax(-1) for t in ("cab ac", " ac"))
    torch.testing.assert_close(scores(team, tuple(tokens)).softmax(-1), (2 * with_ - without).softmax(-1))


def test_rows_with_prompts_of_unequal_length_by_term() -> None:
    team, prompts = ContextAware(A, separator="b"), ["abcabca", "c", "cabc", "aab", ""]
    together = team.generate(prompts, Sampling(max_tokens=7))
    assert [a.tokens for a in together] == [team.generate([p], Sampling(max_tokens=7))[0].tokens for p in prompts]


def test_pieces_of_the_formula() -> None:
    anchor = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert plausible(anchor, Mask(alpha=0.2)).tolist() == [[True, True, True, False]]
    assert plausible(anchor, Mask(top_p=0.6)).tolist() == [[True, True, False, False]]
    tied = decide_ties(torch.tensor([[1.0, 1.0, 0.0, 1.0]]), anchor.flip(-1))
    assert int(tied.argmax()) == 3


def test_bad_arguments_are_named() -> None:
    with pytest.raises(Unsupported, match="fake does not show its logits"):
        Proxy(A, FakeModel({}), B)  # type: ignore[arg-type]
    with pytest.raises(BadParameter, match="weight: 1 value for 2 models"):
        LogitArithmetic([A, B], weight=[1])
    with pytest.raises(BadParameter, match="all weights are 0"):
        LogitArithmetic([A, B], weight=[0, 0])
    with pytest.raises(BadParameter, match="separator"):
        ContextAware(A, separator="")
    with pytest.raises(BadParameter, match="temperature"):
        Combined([Term(A, temperature=0.0)])
