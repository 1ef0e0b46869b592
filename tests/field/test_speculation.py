"""Field cases of speculation: what other people's inputs once did to it."""

from __future__ import annotations

import logging

import pytest

from consort.cooperate.speculate import Speculate
from consort.core.types import Sampling
from consort.models import FakeTokenizer, FakeTokenModel

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIZE = len(LETTERS) + 2
CYCLE = FakeTokenModel(
    lambda t: [9.0 * (i == (t[-1] + 1) % 26) for i in range(SIZE)], FakeTokenizer(LETTERS), name="cycle"
)
"""The alphabet, again and again."""
LONG = Sampling(max_tokens=120)


def guessing(place: float) -> FakeTokenModel:
    """A draft whose ids run the other way; it always puts something wrong first, and gives what is right `place`."""

    def logits(t: tuple[int, ...]) -> list[float]:
        right, wrong = ((25 - t[-1] + step) % 26 if t[-1] < 26 else step for step in (1, 2))
        return [{wrong: 9.0, right: place}.get(25 - i, 0.0) for i in range(SIZE)]

    return FakeTokenModel(logits, FakeTokenizer(LETTERS[::-1]), name="other")


def read(drafter: object, draft: FakeTokenModel) -> tuple[int, int, int]:
    """Tokens that the target and the draft read, and rounds."""
    model = Speculate(TREES, draft, drafter=drafter, gamma=4)  # type: ignore[arg-type]
    (answer,) = model.generate(["a"], LONG)
    assert answer.tokens == CYCLE.generate(["a"], LONG)[0].tokens
    cost = answer.cost
    target, other = (cost[name].prompt_tokens + cost[name].completion_tokens for name in ("cycle", "other"))
    return target, other, answer.details["speculation"]["rounds"]


class WithTrees(FakeTokenModel):
    def open(self, batch: int = 1):
        from consort.models.abilities import with_trees

        return with_trees(super().open(batch), batch)


TREES = WithTrees(CYCLE.logits, CYCLE.tokenizer, name="cycle")


def test_B15_a_tree_across_tokenizers_whose_branches_save_nothing_is_a_chain() -> None:
    """The draft is wrong everywhere: one tree of 60 tokens shows it, all other rounds cost what a chain's do."""
    draft = guessing(-9.0)
    chain, tree, always = (read(d, draft) for d in ({"tree": {"branching": 1}}, "tree", {"tree": {"worth": 0.0}}))
    assert chain[2] == tree[2] == always[2]  # no branch ever stands
    assert tree[0] - chain[0] < 2 * 60 * 4  # of one or two trees, branch by branch
    assert tree[1] - chain[1] <= 2 * 60
    assert always[0] > 5 * tree[0]


def test_B15_a_tree_whose_branches_stand_is_kept() -> None:
    """The right token comes second everywhere: a chain never stands, a tree always does."""
    draft = guessing(8.0)
    chain, tree, always = (read(d, draft) for d in ({"tree": {"branching": 1}}, "tree", {"tree": {"worth": 0.0}}))
    assert tree == always
    assert 2 * tree[2] < chain[2]


def test_B15_a_row_goes_back_to_trees_when_passed_by_branches_would_have_stood() -> None:
    from consort.cooperate.speculate.drafters.payoff import Payoff

    payoff = Payoff(0.01)
    assert payoff.pays(56)
    payoff.enter(0)
    assert not payoff.pays(56)  # .56 would be needed, 0 was saved
    for saved, pays in ((1, False), (1, True)):  # (.9 * 0 + 1, .9 * .9 + ...)
        payoff.enter(saved)
        assert payoff.pays(56) is pays


def test_B16_a_draft_with_few_shared_tokens_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    apart = FakeTokenModel(lambda t: [9.0 * (i == 1) for i in range(4)], FakeTokenizer("a!"), name="apart")
    model = Speculate(CYCLE, apart, gamma=2)
    with caplog.at_level(logging.WARNING, logger="consort.speculate"):
        for _ in range(3):
            model.generate(["a", "bc"], Sampling(max_tokens=6))
    assert [record.getMessage() for record in caplog.records] == [
        "apart shares only 0.00 of its probability with the target's tokens"
    ]


def test_rewards_of_a_fusion_are_the_registrys_metrics_of_one_answer() -> None:
    from consort.plan.fuse.modes import reward_metrics

    found = reward_metrics()
    assert {"contains", "exact_match", "numeric", "token_f1"} <= set(found)
    assert not {"bleu", "choice", "code", "perplexity", "quality"} & set(found)
