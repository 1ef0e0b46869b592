"""Laws of speculative decoding: greedy answers are the target's, sampled ones have its distribution, to chi-square.

For authors of drafters as for consort's own tests: `check("my_drafter")` tries a registered drafter with the arguments
that its decorator declares: `@drafter(example={…})`, more of them by name in `examples={"name": {…}}`, and
`vocabularies="one"` for one that refuses a draft of another vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any

from consort.cooperate.speculate.drafters import DRAFTERS
from consort.cooperate.speculate.drafters.draft import Draft
from consort.cooperate.speculate.speculation import Speculate
from consort.core.types import Sampling
from consort.models.token_model import TokenModel
from consort.testing.law import Law
from consort.testing.model_laws import prompts_of
from consort.testing.tables import TableModel, pair_of, same_distribution

KINDS = ("drafter",)
Build = Callable[[TokenModel, TokenModel], Speculate]
"""Makes a speculating model of a target and a draft."""

VOCABULARIES = ("same", "padded", "different")
"""How the vocabulary of a draft may relate to the target's (see `pair_of`)."""

GREEDY = Sampling(max_tokens=64)
SAMPLED = Sampling(max_tokens=20, temperature=0.9, top_k=8, top_p=0.95, seed=5)
SAMPLINGS = {
    "temperature": Sampling(temperature=0.7),
    "top_k": Sampling(temperature=1.0, top_k=5),
    "top_p": Sampling(temperature=1.0, top_p=0.8),
    "min_p": Sampling(temperature=1.0, min_p=0.1),
    "penalties": Sampling(temperature=0.9, repetition_penalty=1.3, presence_penalty=0.5),
}


def examples_of(name: str) -> dict[str, Mapping[str, Any]]:
    """The arguments that a drafter is tried with: its decorator's `example`, and each of its `examples` by name."""
    options = DRAFTERS.entry(name).options
    return {name: options.get("example", {}), **{f"{name} {k}": v for k, v in options.get("examples", {}).items()}}


def cases() -> dict[str, Build]:
    """Every example of every registered drafter."""
    return {case: partial(_speculate, name, given) for name in DRAFTERS for case, given in examples_of(name).items()}


def _speculate(name: str, given: Mapping[str, Any], target: TokenModel, draft: TokenModel) -> Speculate:
    guesser = DRAFTERS.get(name)(**given)
    gamma = 2 if guesser.trees else 3
    return Speculate(target, draft if hasattr(guesser, "draft") else None, drafter=guesser, gamma=gamma)


def greedy_answers_are_the_targets(build: Build, kind: str) -> None:
    """Greedy answers are token for token the target's own."""
    model, target, trees = _made(build, kind)
    same_answers(model, target, _prompts(target, 20 if trees else 100), GREEDY)


def sampled_answers_are_plain_ones_where_guesses_are_not_drawn(build: Build, kind: str) -> None:
    """With a seed too, where no guess is drawn."""
    model, target, _ = _made(build, kind)
    prompts = _prompts(target, 9)
    if not draws(model, prompts):
        same_answers(model, target, prompts, SAMPLED)


def rows_are_independent(build: Build, kind: str) -> None:
    """A ragged batch gives what its rows give alone."""
    model, target, _ = _made(build, kind)
    prompts = _prompts(target, 7)
    for sampling in (replace(GREEDY, max_tokens=20), SAMPLED):
        together = model.generate(prompts, sampling)
        assert [a.tokens for a in together] == [model.generate([p], sampling)[0].tokens for p in prompts]


def streams_are_answers(build: Build, kind: str) -> None:
    """The pieces of a stream are the text of the answer."""
    model, target, _ = _made(build, kind)
    for sampling in (replace(GREEDY, stop=("bc", "jd")), SAMPLED):
        for prompt in _prompts(target, 4):
            assert "".join(model.stream(prompt, sampling)) == model.generate([prompt], sampling)[0].text


def the_distribution_is_the_targets(
    build: Build, kind: str, samplings: Sequence[str] = ("top_p", "penalties"), samples: int = 500
) -> None:
    """To chi-square, under some of `SAMPLINGS`; three tenths of the samples where a tree is read branch by branch."""
    for sampling in samplings:
        model, target, trees = _made(build, kind)
        shaped = replace(SAMPLINGS[sampling], max_tokens=4, seed=11)
        same_distribution(model, target, shaped, 3 * samples // 10 if trees else samples, length=4)


def arguments_are_kept(build: Build, kind: str) -> None:
    """Under the parameters' own names, so that a plan can be written of it."""
    guesser = _made(build, kind)[0].guesser
    for param in DRAFTERS.entry(guesser.name).params:
        assert hasattr(guesser, param.name), f"{guesser.name} does not keep {param.name}"


DRAFT_LAWS: tuple[Callable[[Build, str], None], ...] = (
    arguments_are_kept,
    greedy_answers_are_the_targets,
    sampled_answers_are_plain_ones_where_guesses_are_not_drawn,
    rows_are_independent,
    streams_are_answers,
    the_distribution_is_the_targets,
)
"""What every drafter keeps: a law takes a `Build` and one of `VOCABULARIES`."""


def kinds_of(name: str) -> tuple[str, ...]:
    """The relations of two vocabularies that a drafter is for."""
    return VOCABULARIES[: 2 if DRAFTERS.entry(name).options.get("vocabularies") == "one" else 3]


def _by_name(law: Callable[[Build, str], None]) -> Law:
    @wraps(law)
    def of(name: str) -> None:
        for given in examples_of(name).values():
            for kind in kinds_of(name):
                law(partial(_speculate, name, given), kind)

    return of


LAWS: tuple[Law, ...] = tuple(_by_name(law) for law in DRAFT_LAWS)
"""The same of a registered drafter, by its name: with every example, and every relation of two vocabularies."""


def check(name: str) -> None:
    """All laws over the drafter called `name`. Raises AssertionError where one is broken."""
    for law in LAWS:
        law(name)


def _made(build: Build, kind: str) -> tuple[Speculate, TableModel, bool]:
    """The model, its target, and whether it guesses trees; the target reads them."""
    target, draft = pair_of(kind, trees=True)
    model = build(target, draft)
    return model, target, model.guesser.trees


def _prompts(model: TokenModel, n: int) -> list[str]:
    return prompts_of(model, [1 + i % 9 for i in range(n)])


def draws(model: Speculate, prompts: Sequence[str]) -> bool:
    """Whether its guesses are drawn when answers are, so that a seed's text is not plain decoding's."""
    found: list[bool] = []
    opened = model.work.open_drafter
    model.work.open_drafter = lambda trees: _Watched(opened(trees), found)
    model.generate(prompts, SAMPLED)
    model.work.open_drafter = opened
    return any(found)


class _Watched:
    """A draft session of which it is noted which guesses were drawn."""

    def __init__(self, session: Any, found: list[bool]) -> None:
        self.session, self.found = session, found

    def propose(self, gammas: Sequence[int]) -> list[Draft]:
        drafts: list[Draft] = self.session.propose(gammas)
        self.found += [draft.q is not None for draft in drafts]
        return drafts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def same_answers(model: TokenModel, target: TokenModel, prompts: Sequence[str], sampling: Sampling) -> None:
    """Token for token what the target answers."""
    got, wanted = model.generate(prompts, sampling), target.generate(prompts, sampling)
    for prompt, a, b in zip(prompts, got, wanted, strict=True):
        assert a.tokens == b.tokens, f"{model.name} leaves {target.name} after {prompt!r}"
        assert (a.text, a.finish_reason) == (b.text, b.finish_reason)
