"""GaC, UniTE, PackLLM and span fusion over models whose tokenizers differ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from consort.core.errors import BadParameter, Unsupported
from consort.core.types import Sampling
from consort.ensemble.during.deepen import Deepen
from consort.ensemble.during.eva import Eva
from consort.ensemble.during.gac import Gac
from consort.ensemble.during.pack_llm import PackLlm
from consort.ensemble.during.spec_fuse import SpecFuse
from consort.ensemble.during.unite import Unite
from consort.models import FakeModel, TokenModel
from consort.testing import model_laws as laws
from consort.testing.words import LETTERS, PAIRS

TOKEN_LEVEL: list[Any] = [Gac, Unite, PackLlm]
GREEDY = Sampling(max_tokens=8)


@pytest.mark.parametrize("law", [*laws.SESSION_LAWS, *laws.ANSWER_LAWS], ids=lambda law: law.__name__)
@pytest.mark.parametrize("strategy", TOKEN_LEVEL)
def test_laws(strategy: type[TokenModel], law: Any) -> None:
    team = strategy([LETTERS, PAIRS])  # type: ignore[call-arg]
    law(team, ["ab", "cabb", "", "a"]) if law in laws.ANSWER_LAWS else law(team)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(max_tokens=8, temperature=1.0, seed=3)])
@pytest.mark.parametrize("strategy", [*TOKEN_LEVEL, SpecFuse])
@pytest.mark.parametrize("first", [LETTERS, PAIRS])
def test_all_weight_on_the_first_is_the_first(strategy: Any, first: TokenModel, sampling: Sampling) -> None:
    other = PAIRS if first is LETTERS else LETTERS
    more = {"top_k": 99} if strategy is Unite else {}
    team = strategy([first, other], weight=[1, 0], **more)
    got, wanted = (model.generate(["ab", "cab"], sampling) for model in (team, first))
    assert [a.text for a in got] == [a.text for a in wanted]
    assert set(got[0].cost) == {first.name}


def test_gac_averages_over_the_union_by_hand() -> None:
    team = Gac([LETTERS, PAIRS], weight=[1, 3])
    assert team.tokenizer.vocab_size == 5 + 2  # a b c bos eos, then ab and ca
    p, q = (m.open().feed([m.tokenizer.encode("ab")])[0][-1].softmax(-1) for m in (LETTERS, PAIRS))
    got = team.open().feed([team.tokenizer.encode("ab")])[0][-1].exp()
    b, a, ab, c, ca, _, end = q.tolist()
    wanted = [0.25 * x + 0.75 * y for x, y in zip([*p.tolist(), 0, 0], [a, b, c, 0, end, ab, ca], strict=True)]
    assert got.tolist() == pytest.approx(wanted, abs=1e-6)


def test_gac_reads_a_token_of_the_other_model_in_its_own() -> None:
    team = Gac([LETTERS, PAIRS])
    union = 5 + ["ab", "ca"].index("ca")
    head = team.tokenizer.encode("b")
    spelt = team.open().feed([[*head, union]])[0][-1]
    torch.testing.assert_close(spelt, team.open().feed([team.tokenizer.encode("bca")])[0][-1])
    assert team.tokenizer.decode([*head, union]) == "bca"


def test_gac_mixes_only_where_the_gate_model_is_unsure() -> None:
    (tokens,) = laws.rows_of(LETTERS, [12])
    alone = LETTERS.open().feed([tokens])[0].log_softmax(-1)
    mixed = Gac([LETTERS, PAIRS]).open().feed([tokens])[0][:, :5]
    got = Gac([LETTERS, PAIRS], gate=0.6).open().feed([tokens])[0][:, :5]
    sure = alone.exp().amax(-1) >= 0.6
    assert 0 < int(sure.sum()) < len(sure)
    torch.testing.assert_close(got[sure].exp(), alone[sure].exp())
    torch.testing.assert_close(got[~sure], mixed[~sure])
    with pytest.raises(BadParameter, match="weight"):
        Gac([LETTERS, PAIRS], weight=[0, 1], gate=0.5)


def test_unite_by_hand() -> None:
    """The letter model has no "ab": its first piece a belongs to the exact candidate a, so "ab" gets nothing."""
    team = Unite([LETTERS, PAIRS], top_k=7)
    x, y = (m.open().feed([m.tokenizer.encode("c")])[0][-1] for m in (LETTERS, PAIRS))
    got = team.open().feed([team.tokenizer.encode("c")])[0][-1].exp()
    p, q = torch.tensor([x[0], x[1], x[2], x[4]]).softmax(-1), y[[1, 0, 3, 6, 2, 4]].softmax(-1)
    wanted = torch.cat([p, torch.zeros(2)]) / 2 + q / 2  # a b c end ab ca
    torch.testing.assert_close(got[[0, 1, 2, 4, 5, 6]], wanted, atol=1e-6, rtol=1e-5)
    assert float(got.sum()) == pytest.approx(1, abs=1e-6)


def test_unite_gives_a_lone_long_candidate_its_first_piece() -> None:
    tokens = laws.rows_of(LETTERS, [9])[0]
    team = Unite([LETTERS, PAIRS], top_k=1)
    got = team.open().feed([tokens])[0]
    assert int((got > -torch.inf).sum(-1).max()) <= 2
    torch.testing.assert_close(got.exp().sum(-1), torch.ones(9))


def test_pack_llm_gives_a_foreign_token_to_the_nearest() -> None:
    team = PackLlm([LETTERS, PAIRS])
    logits = torch.full((1, 7), -torch.inf)
    logits[0, 2], logits[0, 6] = 0.0, 0.0  # "ab" and the end, a half each
    assert team.carried(logits, 1).exp()[0].tolist() == pytest.approx([0.5, 0, 0, 0, 0.5], abs=1e-6)


def test_span_fusion_takes_the_span_that_all_find_likeliest() -> None:
    sure = SpecFuse([LETTERS, PAIRS], span=3).generate(["ab", "c"], GREEDY)
    for answer in sure:
        assert sum(answer.details["spans"].values()) >= 1
        assert set(answer.cost) == {"letters", "pairs"}
    one = SpecFuse([LETTERS], span=3).generate(["ab", "c"], GREEDY)
    assert [a.tokens for a in one] == [a.tokens for a in LETTERS.generate(["ab", "c"], GREEDY)]


def test_span_fusion_stops_at_stop_strings() -> None:
    long = Sampling(max_tokens=20, temperature=1.0)
    prompts = ("ab", "c", "bca", "cab")
    texts = [SpecFuse([LETTERS, PAIRS]).generate([prompt], long)[0].text for prompt in prompts]
    plain, prompt = max(zip(texts, prompts, strict=True), key=lambda pair: len(pair[0]))
    stop = plain[1:3]
    stopped = SpecFuse([LETTERS, PAIRS]).generate([prompt], replace(long, stop=(stop,)))[0]
    assert len(plain) > 2
    assert stopped.text == plain[: plain.find(stop)]
    assert stopped.finish_reason == "stop"


@pytest.mark.parametrize("strategy", [Deepen, Eva])
def test_models_without_embeddings_are_refused_by_name(strategy: Any) -> None:
    with pytest.raises(Unsupported, match="letters: does not show its embeddings"):
        strategy([LETTERS, PAIRS])


@pytest.mark.parametrize("strategy", [Gac, Unite, SpecFuse])
def test_models_without_logits_are_refused(strategy: Any) -> None:
    with pytest.raises(Unsupported, match="fake does not show its logits"):
        strategy([LETTERS, FakeModel({})])
