"""The law of `Sampling`: every setting holds for every strategy, or is refused by its name. Never is one ignored.

One check for each field of `core.types.Sampling`; a field without a check is itself a fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from consort.core.errors import ConsortError
from consort.core.types import Completion, Grammar, Sampling
from consort.testing.built import KINDS as KINDS
from consort.testing.built import built, members_for, strategies
from consort.testing.law import Law, named

PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
SEEDS = (1, 2, 3, 4, 5, 6)
LARGE = 1e5
PROMPTS = ("abc", "b a c", "what is c")


@dataclass(slots=True)
class Subject:
    """A strategy under the law, and the tokenizer of what it writes."""

    strategy: Any
    tokenizer: Any
    prompts: Sequence[str] = PROMPTS

    def texts(self, **settings: Any) -> list[str]:
        """The texts of answers under some settings."""
        return [answer.text for answer in self.answers(**settings)]

    def answers(self, **settings: Any) -> list[Any]:
        """Answers of at most six tokens, where the settings do not say otherwise."""
        prompts = settings.pop("prompts", self.prompts)
        found = self.strategy.generate(prompts, Sampling(**{"max_tokens": 6, **settings}))
        return [answer if answer.tokens else replace(answer, tokens=self._tokens(answer)) for answer in found]

    def _tokens(self, answer: Completion) -> tuple[int, ...]:
        """The tokens of an answer that came as a text alone."""
        end = [self.tokenizer.eos] if answer.text and answer.finish_reason == "stop" else []
        return (*self.tokenizer.encode(answer.text, special=False), *end)

    def token(self, text: str) -> int:
        """The first token of a text."""
        return int(self.tokenizer.encode(text, special=False)[0])


def _max_tokens(s: Subject) -> None:
    assert all(len(answer.tokens) <= 3 for answer in s.answers(max_tokens=3))
    assert not any(s.texts(max_tokens=0))


def _drawn(s: Subject) -> None:
    by_seed = [s.texts(temperature=1.0, seed=seed) for seed in SEEDS]
    assert len({*map(tuple, by_seed)}) > 1, "the draws do not depend on the seed"
    assert s.texts(temperature=1.0, seed=SEEDS[0]) == by_seed[0]


def _seeds(s: Subject) -> None:
    """Each prompt has the answer that it would have alone with its seed."""
    same = [s.prompts[0]] * 2
    found: dict[int, str] = {}
    for first, second in zip(SEEDS[::2], SEEDS[1::2], strict=True):
        both = s.texts(prompts=same, temperature=1.0, seeds=(first, second))
        alone = [s.texts(prompts=same[:1], temperature=1.0, seeds=(seed,))[0] for seed in (first, second)]
        assert both == alone, f"with seeds {first} and {second}: {both} is not {alone}"
        found |= {first: both[0], second: both[1]}
    assert len(set(found.values())) > 1, "the seeds of prompts are ignored"
    twice = s.texts(prompts=same, temperature=1.0, seeds=(SEEDS[0],) * 2)
    assert twice == [found[SEEDS[0]]] * 2, "equal prompts of equal seed have different answers"


def _one_token_left(**cut: Any) -> Callable[[Subject], None]:
    def check(s: Subject) -> None:
        found = {tuple(s.texts(temperature=1.0, seed=seed, **cut)) for seed in SEEDS}
        assert len(found) == 1, f"{cut} leaves one token, and the answers differ by seed"

    return check


def _stop(s: Subject) -> None:
    letter = next((c for text in s.texts() for c in text[1:] if c.isprintable()), "a")
    assert not any(letter in text for text in s.texts(stop=(letter,))), f"answers go on after {letter!r}"


def _logit_bias(s: Subject) -> None:
    """What can be written is written if a bias is for it, and not if one is against it."""
    drawn = [s.answers(temperature=1.0, seed=seed)[0].tokens for seed in SEEDS]
    token = next((t for tokens in drawn for t in tokens[:1] if t != s.tokenizer.eos), s.token("c"))
    [first, *_] = s.answers(logit_bias=((token, LARGE),))
    assert first.tokens[:1] == (token,), f"it begins with {first.tokens[:1]} where the bias is for {token}"
    likely = next((a.tokens[0] for a in s.answers() if a.tokens), token)
    for answer in s.answers(logit_bias=((likely, -LARGE),)):
        assert likely not in answer.tokens, "a token that is forbidden is written"


def _min_tokens(s: Subject) -> None:
    _logit_bias(s)
    end = ((s.tokenizer.eos, LARGE),)  # a strategy may still exclude the end: then a bias does not bring it about
    for answer in s.answers(logit_bias=end, min_tokens=3):
        assert len(answer.tokens) > 3 and s.tokenizer.eos not in answer.tokens[:3], "it ends too early"
    for seed in SEEDS:
        for answer in s.answers(temperature=3.0, seed=seed, min_tokens=6):
            assert len(answer.tokens) >= 6, "it ends too early"


def _never_again(s: Subject, **penalty: Any) -> None:
    token = s.token("c")
    for answer in s.answers(logit_bias=((token, 50.0),), **penalty):
        assert len(set(answer.tokens)) == len(answer.tokens), f"{penalty}: {answer.text!r} has a token twice"


def _frequency_penalty(s: Subject) -> None:
    _never_again(s, frequency_penalty=LARGE)


def _presence_penalty(s: Subject) -> None:
    _never_again(s, presence_penalty=LARGE)


def _repetition_penalty(s: Subject) -> None:
    """No token comes twice that has a negative logit; where it has not, the answer is at least another one."""
    plain = s.answers()
    for answer, before in zip(s.answers(repetition_penalty=LARGE), plain, strict=True):
        again = len(set(answer.tokens)) < len(answer.tokens)
        assert not again or answer.tokens != before.tokens, f"{answer.text!r}: tokens come again as if for free"


def _grammar(s: Subject) -> None:
    """Answers are of the grammar, drawn or not: two words of the prompts' letters, one of them in doubt."""
    words = ["ab", "ba", "cab"]
    grammar = Grammar("choice", json.dumps(words))
    found = [text for t in (0.0, 1.0) for text in s.texts(grammar=grammar, temperature=t, max_tokens=12)]
    assert set(found) <= set(words), f"{found} are not among {words}"


CHECKS: dict[str, Callable[[Subject], None]] = {
    "max_tokens": _max_tokens,
    "temperature": _drawn,
    "seed": _drawn,
    "seeds": _seeds,
    "top_p": _one_token_left(top_p=1e-9),
    "top_k": _one_token_left(top_k=1),
    "min_p": _one_token_left(min_p=1.0),
    "typical_p": _one_token_left(typical_p=1e-9),
    "stop": _stop,
    "logit_bias": _logit_bias,
    "min_tokens": _min_tokens,
    "repetition_penalty": _repetition_penalty,
    "frequency_penalty": _frequency_penalty,
    "presence_penalty": _presence_penalty,
    "grammar": _grammar,
}
FIELDS = tuple(field.name for field in fields(Sampling))


def sampling_holds(subject: Subject, field: str) -> None:
    """The setting `field` holds, or is refused by its name."""
    assert field in CHECKS, f"Sampling.{field} has no check: add one beside it"
    try:
        CHECKS[field](subject)
    except ConsortError as refused:
        said = f"{refused.field} {refused.message}"
        is_named = field in said or (field in PENALTIES and "penalties" in said)
        assert is_named, f"{field} is refused, but not by name: {refused}"


@cache
def subject_of(name: str) -> Subject:
    """A registered strategy over small models."""
    registry = strategies()[name]
    members = members_for(registry, name)
    strategy = built(registry, name, members)
    tokenizer = getattr(strategy, "tokenizer", None) or members[0].tokenizer
    return Subject(strategy, tokenizer)


def _of(field: str) -> Law:
    @named(f"sampling_{field}_holds_or_is_refused")
    def law(name: str) -> None:
        sampling_holds(subject_of(name), field)

    return law


LAWS: tuple[Law, ...] = tuple(_of(field) for field in FIELDS)
"""Laws of a registered strategy, by its name: one for every field of Sampling."""


def check(name: str) -> None:
    """Every field of Sampling over the strategy called `name`."""
    for law in LAWS:
        law(name)
