"""Laws that every token model and every strategy keeps; for authors of plug-ins as for consort's own tests.

A law is a function of a model (or of a strategy's class and models) that raises AssertionError where it is broken;
`check(NAME)` runs all of them over a registered strategy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor

from consort.core.registry import Registry
from consort.core.types import Completion, Sampling, Usage
from consort.models.base import LanguageModel
from consort.models.cost import labels
from consort.models.token_model import TokenModel
from consort.testing.built import built, members_for, run, strategies
from consort.testing.law import Law, applies, named

KINDS = ("ensemble", "transfer", "answer", "speculate", "compress")
GREEDY = Sampling(max_tokens=6)
SAMPLED = Sampling(max_tokens=6, temperature=0.9, top_p=0.95, top_k=20, seed=7)
NEAR = 1e-4
"""How far logits of one text may be apart when it is read in two ways (float32)."""

Build = Callable[[Sequence[Any]], Any]
"""Makes a strategy of given models."""


def rows_of(model: TokenModel, lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    """Random token lists of these lengths, ends left out."""
    rng, size = random.Random(seed), model.tokenizer.vocab_size
    usable = [token for token in range(size) if token not in model.ends]
    return [[rng.choice(usable) for _ in range(length)] for length in lengths]


def prompts_of(model: TokenModel, lengths: Sequence[int] = (3, 9, 1, 6), seed: int = 0) -> list[str]:
    """Random texts of unequal length that the model's tokenizer can read."""
    return [model.tokenizer.decode(row) for row in rows_of(model, lengths, seed)]


def alone(model: TokenModel, tokens: Sequence[int]) -> Tensor:
    """Next-token log-probabilities after each of `tokens`, read at once in a session of its own."""
    return model.open(1).feed([tokens])[0].log_softmax(-1)


def without_time(answers: Sequence[Completion]) -> list[Completion]:
    """The completions with every `seconds` set to 0 and log-probabilities to six digits: what must be reproducible."""

    def plain(usage: Usage) -> Usage:
        return replace(usage, seconds=0.0)

    return [
        Completion(
            a.text,
            a.tokens,
            None if a.logprob is None else round(a.logprob, 3),
            a.finish_reason,
            plain(a.usage),
            {name: plain(usage) for name, usage in a.cost.items()},
        )
        for a in answers
    ]


def close(got: Tensor, wanted: Tensor) -> None:
    """Log-probabilities are equal up to rounding; those too small to matter are compared as probabilities."""
    assert got.shape == wanted.shape, f"{tuple(got.shape)} is not {tuple(wanted.shape)}"
    torch.testing.assert_close(got.exp(), wanted.exp(), atol=NEAR, rtol=1e-3)


def probabilities_sum_to_one(model: TokenModel) -> None:
    """After every token there are float32 logits, whose softmax sums to 1."""
    (tokens,) = rows_of(model, [5])
    (logits,) = model.open(1).feed([tokens])
    assert logits.dtype == torch.float32
    assert logits.shape[0] == 5
    torch.testing.assert_close(logits.softmax(-1).sum(-1), torch.ones(5), atol=1e-5, rtol=0)


def rows_do_not_see_each_other(model: TokenModel) -> None:
    """A row of a ragged batch has the logits that it has alone."""
    rows = rows_of(model, [4, 1, 7])
    for got, row in zip(model.open(3).feed(rows), rows, strict=True):
        close(got.log_softmax(-1), alone(model, row))


def pieces_equal_the_whole(model: TokenModel) -> None:
    """Fed in pieces, a text has the logits that it has in one."""
    a, b = rows_of(model, [7, 3])
    session = model.open(2)
    first = session.feed([a[:2], []])
    second = session.feed([a[2:], b])
    third = session.feed([[], b], last=True)
    assert len(first[1]) == 0
    assert len(third[0]) == 0
    close(torch.cat([first[0], second[0]]).log_softmax(-1), alone(model, a))
    close(third[1].log_softmax(-1), alone(model, b + b)[-1:])


def rollback_equals_fresh(model: TokenModel) -> None:
    """After a rollback a row is as if what came later had never been read."""
    a, b, new = rows_of(model, [6, 5, 3])
    session = model.open(2)
    session.feed([a, b])
    session.rollback([2, 5])
    session.feed([new, new[:1]])
    session.rollback([4, 0])
    got = session.feed([new, b])
    close(got[0].log_softmax(-1), alone(model, a[:2] + new[:2] + new)[-3:])
    close(got[1].log_softmax(-1), alone(model, b))


def select_equals_fresh(model: TokenModel) -> None:
    """Rows that are kept, doubled or reordered go on as if they were read alone."""
    rows = rows_of(model, [3, 6, 1])
    session = model.open(3)
    session.feed(rows)
    session = session.select([2, 0, 2])
    kept = [rows[2], rows[0], rows[2]]
    new = rows_of(model, [2, 1, 4], seed=1)
    for got, old, more in zip(session.feed(new), kept, new, strict=True):
        close(got.log_softmax(-1), alone(model, old + more)[-len(more) :])


def any_history_equals_fresh(model: TokenModel) -> None:
    """After any feeds, rollbacks and selections a row's logits are those of its tokens read at once."""
    rng, session = random.Random(5), model.open(3)
    rows: list[list[int]] = [[], [], []]
    for step in range(24):
        kind = rng.choice(("feed", "feed", "feed", "rollback", "select"))
        if kind == "rollback":
            lengths = [rng.randint(0, len(row)) for row in rows]
            session.rollback(lengths)
            rows = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        elif kind == "select":
            chosen = [rng.randrange(len(rows)) for _ in range(rng.randint(1, 4))]
            session, rows = session.select(chosen), [list(rows[i]) for i in chosen]
        else:
            new = rows_of(model, [rng.choice((0, 1, 1, 3)) if len(row) < 20 else 0 for row in rows], step)
            rows = [row + more for row, more in zip(rows, new, strict=True)]
            for got, row, more in zip(session.feed(new), rows, new, strict=True):
                close(got.log_softmax(-1), alone(model, row)[len(row) - len(more) :])


def logprobs_are_teacher_forced(model: TokenModel) -> None:
    """`logprobs` are those of each token after the ones before it."""
    rows = rows_of(model, [5, 2, 8, 1])
    for got, row in zip(model.logprobs(rows), rows, strict=True):
        wanted = [alone(model, row)[i, token].item() for i, token in enumerate(row[1:])]
        torch.testing.assert_close(got, torch.tensor(wanted), atol=1e-3, rtol=1e-3)


def greedy_is_argmax(model: TokenModel) -> None:
    """Each greedy token is a most likely one after those before it."""
    from consort.models.decoding.decode import prompt_tokens

    for prompt in prompts_of(model):
        (answer,) = model.generate([prompt], GREEDY)
        read = prompt_tokens(model.tokenizer, prompt)
        logp = alone(model, [*read, *answer.tokens])[len(read) - 1 : -1]
        picked = logp.gather(-1, torch.tensor(answer.tokens).unsqueeze(-1)).squeeze(-1)
        assert (logp.max(-1).values - picked).max() < NEAR
        assert answer.logprob is not None
        assert abs(float(picked.sum()) - answer.logprob) < 1e-2


def stream_equals_generate(model: TokenModel) -> None:
    """The pieces of a stream are the text of the answer, also where a stop string ends it."""
    for sampling in (GREEDY, SAMPLED, replace(GREEDY, stop=_stops(model))):
        for prompt in prompts_of(model):
            wanted = model.generate([prompt], sampling)[0].text
            assert "".join(model.stream(prompt, sampling)) == wanted


def _stops(model: TokenModel) -> tuple[str, ...]:
    text = model.generate(prompts_of(model)[:1], GREEDY)[0].text
    return (text[1:3],) if len(text) > 2 else ("zz",)


def score_adds_up(model: TokenModel) -> None:
    """A continuation of nothing scores 0, others at most 0, and the same in any batch."""
    context, continuation = prompts_of(model, (4, 3))
    whole, empty, again = model.score([(context, continuation), (context, ""), (context, continuation)])
    assert empty == 0.0
    assert whole <= 0.0
    for other in (again, model.score([(context, continuation)])[0]):
        assert whole == other or abs(whole - other) < 1e-3  # equal where a token has probability 0


def asked_afresh(model: Any, prompts: Sequence[str], sampling: Sampling) -> list[Completion]:
    """What a model that remembers nothing answers, without the time."""
    if hasattr(model, "forget"):
        model.forget()
    return without_time(model.generate(prompts, sampling))


def batch_equals_single(model: LanguageModel, prompts: Sequence[str]) -> None:
    """Prompts in one call have the answers that they have alone."""
    for sampling in (GREEDY, SAMPLED):
        together = asked_afresh(model, prompts, sampling)
        single = [asked_afresh(model, [prompt], sampling)[0] for prompt in prompts]
        assert [a.text for a in together] == [a.text for a in single]
        assert together == single


def deterministic(model: LanguageModel, prompts: Sequence[str]) -> None:
    """Asked twice it answers the same, and at the same cost."""
    for sampling in (GREEDY, SAMPLED):
        assert asked_afresh(model, prompts, sampling) == asked_afresh(model, prompts, sampling)


def cost_names_the_models(model: LanguageModel, prompts: Sequence[str]) -> None:
    """The cost is by inner model, tokens were read and written for each, and the answer's usage is its own."""
    known = labels(model)
    for answer in model.generate(prompts, GREEDY):
        assert answer.cost, "no cost reported"
        assert set(answer.cost) <= set(known), f"{set(answer.cost) - set(known)} are not among {set(known)}"
        assert all(usage.calls > 0 and usage.prompt_tokens > 0 for usage in answer.cost.values())
        assert answer.usage.completion_tokens == len(answer.tokens)
        assert sum(u.completion_tokens for u in answer.cost.values()) >= len(answer.tokens)


def copies_are_the_model(build: Build, model: LanguageModel, prompts: Sequence[str]) -> None:
    """A strategy over copies of one model answers as the model does."""
    wanted = [a.text for a in model.generate(prompts, GREEDY)]
    assert [a.text for a in build([model, model]).generate(prompts, GREEDY)] == wanted


def strategies_nest(build: Build, models: Sequence[Any], prompts: Sequence[str]) -> None:
    """A strategy is a model: one over a strategy works, and its cost still names the plain models, each once."""
    nested = build([build(models), models[0]])
    plain = [leaf for leaf in labels(nested).values() if not hasattr(leaf, "rewards")]  # a judge is its own
    assert {id(leaf) for leaf in plain} <= {id(model) for model in models}
    cost_names_the_models(nested, prompts)
    assert isinstance(nested, LanguageModel)


SESSION_LAWS: tuple[Callable[[TokenModel], None], ...] = (
    probabilities_sum_to_one,
    rows_do_not_see_each_other,
    pieces_equal_the_whole,
    rollback_equals_fresh,
    select_equals_fresh,
    any_history_equals_fresh,
    logprobs_are_teacher_forced,
    greedy_is_argmax,
    stream_equals_generate,
    score_adds_up,
)
"""For every token model."""

ANSWER_LAWS: tuple[Callable[[LanguageModel, Sequence[str]], None], ...] = (
    batch_equals_single,
    deterministic,
    cost_names_the_models,
)
"""For every language model, with prompts that it can read."""


NESTING = ("ensemble", "transfer", "answer")
"""Kinds of strategies whose lists of models may hold strategies."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered strategy over small models: what laws of a name are about."""

    name: str
    registry: Registry[Any]
    members: Sequence[Any]

    @property
    def build(self) -> Build:
        """What makes the strategy of given models."""
        return lambda models: built(self.registry, self.name, models)

    @property
    def takes_a_list(self) -> bool:
        """Whether it is of any number of models, strategies among them."""
        params = self.registry.entry(self.name).params
        return self.registry.kind in NESTING and any(p.type == "model" and p.many for p in params)


@cache
def registered(name: str) -> Registered:
    """The strategy called `name` and models that it works with. Raises KeyError for a name that there is not."""
    registry = strategies()[name]
    return Registered(name, registry, members_for(registry, name))


def _of_sessions(law: Callable[[TokenModel], None]) -> Law:
    @wraps(law)
    def of(name: str) -> None:
        found = registered(name)
        model = found.build(found.members)
        of_tokens = isinstance(model, TokenModel) and found.registry.kind in ("ensemble", "transfer")
        applies(of_tokens, "it is not open down to its logits, or is so as its target is")
        law(model)

    return of


def _of_answers(law: Callable[[LanguageModel, Sequence[str]], None]) -> Law:
    @wraps(law)
    def of(name: str) -> None:
        found = registered(name)
        model = found.build(found.members)
        law(model, prompts_of(model if isinstance(model, TokenModel) else found.members[0]))

    return of


@named("copies_are_the_model")
def _copies(name: str) -> None:
    found = registered(name)
    applies(found.takes_a_list, "it is of models in different roles")
    copies_are_the_model(found.build, found.members[1], prompts_of(found.members[0]))


@named("strategies_nest")
def _nested(name: str) -> None:
    found = registered(name)
    applies(found.takes_a_list, "it is of models in different roles")
    strategies_nest(found.build, found.members, prompts_of(found.members[0]))


LAWS: tuple[Law, ...] = (
    *(_of_sessions(law) for law in SESSION_LAWS),
    *(_of_answers(law) for law in ANSWER_LAWS),
    _copies,
    _nested,
)
"""Laws of a registered strategy over models, by its name."""


def check(name: str) -> list[str]:
    """Every law over the strategy called `name`; those that held. Raises AssertionError where one is broken."""
    return run(strategies()[name], LAWS, name)
