"""Laws of mixtures of models of one architecture; a broken law raises AssertionError.

`check(NAME)` runs all of them over a registered mixture, made of models of the lab. In a law
`build(models, **parameters)` makes a mixture over a fixed dense base with routers that need no prompts; `dense` is
that base by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch

from consort.core.types import Sampling
from consort.mixture import mixture
from consort.models.base import LanguageModel
from consort.models.decoding.decode import prompt_tokens
from consort.models.token_model import TokenModel
from consort.testing.built import built, members_for, run
from consort.testing.law import Law, applies
from consort.testing.model_laws import ANSWER_LAWS, prompts_of, rows_of

KINDS = ("mixture",)
Build = Callable[..., Any]
NEAR = 1e-5
"""Of logits, relative to the largest, in float32."""
LENGTHS = (5, 9, 1, 6)


def same_logits(got: TokenModel, wanted: TokenModel) -> None:
    """Both give the same logits, read as a ragged batch."""
    rows = rows_of(wanted, LENGTHS)
    pairs = zip(got.open(len(rows)).feed(rows), wanted.open(len(rows)).feed(rows), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, atol=NEAR * float(b.abs().max().clamp(min=1)), rtol=0)


def copies_are_the_dense_model(build: Build, dense: TokenModel, base: Any) -> None:
    """Whatever is chosen, k copies of the base are the base."""
    for k in (1, 3):
        same_logits(build([base] * k), dense)


def all_dense_is_the_base(build: Build, dense: TokenModel, models: Sequence[Any]) -> None:
    """With every layer dense nothing is mixed."""
    mixed = build(models, num_dense=build(models).depth)
    same_logits(mixed, dense)


def choice_is_kept(build: Build, models: Sequence[Any]) -> None:
    """What a row is routed to is decided by what it reads first, and stays while the answer is written."""
    mixed = build(models)
    prompts, new = rows_of(mixed, LENGTHS), rows_of(mixed, [3] * len(LENGTHS), seed=1)
    session = mixed.open(len(prompts))
    session.feed(prompts)
    before = [{layer: share.clone() for layer, share in row.items()} for row in session.routes.rows]
    for step in range(3):
        session.feed([row[step : step + 1] for row in new])
    for was, now in zip(before, session.routes.rows, strict=True):
        assert was.keys() == now.keys()
        assert all(torch.equal(was[layer], now[layer]) for layer in was)


def shares_sum_to_one(build: Build, models: Sequence[Any]) -> None:
    """The shares of a row's experts sum to 1, and no more than top-k of them are not 0."""
    mixed = build(models)
    session = mixed.open(len(LENGTHS))
    session.feed(rows_of(mixed, LENGTHS))
    for row in session.routes.rows:
        for share in row.values():
            torch.testing.assert_close(share.sum(), torch.tensor(1.0))
            assert int((share > 0).sum()) <= mixed.k


def batch_and_padding_change_nothing(build: Build, models: Sequence[Any]) -> None:
    """A row is routed and answered as if it were alone, whatever stands beside it."""
    mixed, rows = build(models), rows_of(build(models), LENGTHS)
    session = mixed.open(len(rows))
    together = session.feed(rows)
    for number, row in enumerate(rows):
        single = mixed.open(1)
        (alone,) = single.feed([row])
        torch.testing.assert_close(together[number], alone, atol=1e-4, rtol=1e-4)
        for layer, share in single.routes.rows[0].items():
            torch.testing.assert_close(session.routes.rows[number][layer], share, atol=1e-5, rtol=1e-4)
    prompts = prompts_of(mixed)
    answers = [a.tokens for a in mixed.generate(prompts * 2, Sampling(max_tokens=5))]
    assert answers == [mixed.generate([p], Sampling(max_tokens=5))[0].tokens for p in prompts * 2]


def cache_changes_nothing(build: Build, models: Sequence[Any]) -> None:
    """The tokens written step by step are those of reading prompt and answer anew at every step, routed alike."""
    mixed = build(models)
    for prompt in prompts_of(mixed):
        (answer,) = mixed.generate([prompt], Sampling(max_tokens=5))
        read = prompt_tokens(mixed.tokenizer, prompt)
        for step, token in enumerate(answer.tokens):
            session = mixed.open(1)
            logits = session.feed([read], last=True)
            if step:
                session.rollback([1])
                logits = session.feed([[*read[1:], *answer.tokens[:step]]], last=True)
            assert int(logits[0][-1].argmax()) == token


ROUTING_LAWS: tuple[Callable[[Build, Sequence[Any]], None], ...] = (
    shares_sum_to_one,
    choice_is_kept,
    batch_and_padding_change_nothing,
    cache_changes_nothing,
)
"""For mixtures that route rows."""


def build_of(name: str) -> tuple[Build, Any]:
    """What makes the registered mixture `name` over a base of the lab, and that base."""
    base, *_ = members_for(mixture, name)

    def build(models: Sequence[Any], **given: Any) -> Any:
        return built(mixture, name, [base, *models], given={"models": list(models), **given})

    return build, base


def _mixes_weights(name: str) -> bool:
    return any(p.type == "checkpoint" and p.many for p in mixture.entry(name).params)


def _dense(law: Callable[[Build, TokenModel, Any], None], *, alone: bool) -> Law:
    @wraps(law)
    def of(name: str) -> None:
        from consort.models import load_model

        applies(_mixes_weights(name), "it mixes no weights")
        build, base = build_of(name)
        law(build, load_model(base), base if alone else members_for(mixture, name)[1:])

    return of


def _routing(law: Callable[[Build, Sequence[Any]], None]) -> Law:
    @wraps(law)
    def of(name: str) -> None:
        applies(_mixes_weights(name), "it mixes no weights")
        law(build_of(name)[0], members_for(mixture, name)[1:])

    return of


def _answers(law: Callable[[LanguageModel, Sequence[str]], None]) -> Law:
    @wraps(law)
    def of(name: str) -> None:
        members = members_for(mixture, name)
        strategy = built(mixture, name, members)
        reader = strategy if isinstance(strategy, TokenModel) else members[0]
        law(strategy, prompts_of(reader))

    return of


LAWS: tuple[Law, ...] = (
    _dense(copies_are_the_dense_model, alone=True),
    _dense(all_dense_is_the_base, alone=False),
    *(_routing(law) for law in ROUTING_LAWS),
    *(_answers(law) for law in ANSWER_LAWS),
)
"""Laws of a registered mixture, by its name; those of weights hold where weights are mixed."""


def check(name: str) -> list[str]:
    """Every law over the mixture called `name`; those that held. Raises AssertionError where one is broken."""
    return run(mixture, LAWS, name)
