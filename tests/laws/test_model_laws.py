"""Kinds of models keep the laws of models, strategies nest, and the laws find what breaks them.

Every strategy by itself: test_registered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from consort.cooperate.speculate import Speculate
from consort.ensemble.after import after
from consort.ensemble.during import during
from consort.models import ByteTokenizer, FakeTokenizer, FakeTokenModel, HFModel, TokenModel
from consort.testing import model_laws as laws
from consort.testing import speculation_laws
from consort.testing.built import exempt, letters_model, strategies

STRATEGIES = strategies(("ensemble", "transfer", "answer"))
PLAIN = [letters_model(seed) for seed in range(3)]


TOKEN_STRATEGIES = [
    name for name, kind in STRATEGIES.items() if kind.kind != "answer" and issubclass(kind.get(name), TokenModel)
]
LISTS = [name for name in STRATEGIES if laws.registered(name).takes_a_list]
GREEDY_ENSEMBLES = [n for n in LISTS if n in during and "cost_names_the_models" not in exempt(during, n)]


def build(name: str) -> Callable[[Sequence[Any]], Any]:
    return laws.registered(name).build


def tiny(kind: str) -> TokenModel:
    """A small random model of an architecture, bytes its tokens."""
    import torch
    import transformers

    shape = {"vocab_size": 256, "hidden_size": 32, "num_hidden_layers": 2, "eos_token_id": 0, "bos_token_id": 1}
    attention = {"intermediate_size": 48, "num_attention_heads": 4, "max_position_embeddings": 64}
    grouped = {**attention, "num_key_value_heads": 2}
    more: dict[str, dict[str, Any]] = {
        "Llama": grouped,
        "Qwen2": {**grouped, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
        "Gemma2": {**grouped, "head_dim": 8, "sliding_window": 4, "pad_token_id": 2},
        "GPTNeoX": attention,
        "Rwkv": {"attention_hidden_size": 32, "context_length": 64},
    }
    config = getattr(transformers, f"{kind}Config")(**shape, **more[kind])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in module.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)  # fresh weights are too alike to tell mistakes
    return HFModel(kind, module, ByteTokenizer(bos=1, eos=0))


@pytest.fixture(scope="module")
def hf(request: pytest.FixtureRequest) -> TokenModel:
    return tiny(request.param)


@pytest.mark.parametrize("law", laws.SESSION_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("hf", ["Llama", "Qwen2", "Gemma2", "GPTNeoX", "Rwkv"], indirect=True)
def test_transformers_models(hf: TokenModel, law: Callable[[TokenModel], None]) -> None:
    law(hf)


@pytest.mark.parametrize("law", laws.ANSWER_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("hf", ["Llama", "Rwkv"], indirect=True)
def test_answers_of_transformers_models(hf: TokenModel, law: Callable[..., None]) -> None:
    law(hf, laws.prompts_of(hf))


@pytest.mark.parametrize("law", laws.SESSION_LAWS, ids=lambda law: law.__name__)
def test_fake_model(law: Callable[[TokenModel], None]) -> None:
    law(PLAIN[0])


class Renewing(FakeTokenModel):
    """Its sessions are of no use after `select`, which gives a new one: all that the protocol promises."""

    def open(self, batch: int = 1) -> Any:
        return _Renewed(super().open(batch))


class _Renewed:
    def __init__(self, session: Any) -> None:
        self.session = session

    def select(self, rows: Sequence[int]) -> _Renewed:
        session, self.session = self.session, None
        return _Renewed(session.select(rows))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


@pytest.mark.parametrize("law", [laws.select_equals_fresh, laws.any_history_equals_fresh], ids=lambda law: law.__name__)
@pytest.mark.parametrize(
    "name", [n for n in TOKEN_STRATEGIES if isinstance(laws.registered(n).members[0], FakeTokenModel)]
)
def test_select_may_give_a_new_session(name: str, law: Callable[[TokenModel], None]) -> None:
    members = [Renewing(model.logits, model.tokenizer, name=model.name) for model in PLAIN]
    law(build(name)(members))


def a_pair(target: TokenModel, draft: TokenModel) -> Speculate:
    tiny = type(draft)(PLAIN[2].logits, PLAIN[2].tokenizer, name="tiny")  # type: ignore[call-arg]
    return Speculate(target, Speculate(draft, tiny, gamma=2), gamma=3)


GUESSERS = {**speculation_laws.cases(), "a pair as the draft": a_pair}


def guessing(name: str, kind: type = FakeTokenModel) -> Speculate:
    target, draft = (kind(m.logits, m.tokenizer, name=m.name) for m in PLAIN[:2])
    return GUESSERS[name](target, draft)


@pytest.mark.parametrize("law", [*laws.SESSION_LAWS[-3:], *laws.ANSWER_LAWS], ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", GUESSERS)
def test_speculation(name: str, law: Callable[..., None]) -> None:
    """Its sessions are its target's; what is its own are answers, streams and scores."""
    model = guessing(name)
    law(model, laws.prompts_of(model)) if law in laws.ANSWER_LAWS else law(model)


@pytest.mark.parametrize("name", GUESSERS)
def test_speculation_over_sessions_that_renew(name: str) -> None:
    model = guessing(name, Renewing)
    laws.batch_equals_single(model, laws.prompts_of(model))


@pytest.mark.parametrize("inner", [n for n in LISTS if n in TOKEN_STRATEGIES])
@pytest.mark.parametrize("outer", ["average", "logit_arithmetic", "spec_fuse"])
def test_token_strategies_nest_in_each_other(outer: str, inner: str) -> None:
    laws.cost_names_the_models(build(outer)([build(inner)(PLAIN), PLAIN[0]]), laws.prompts_of(PLAIN[0]))


@pytest.mark.parametrize("outer", [n for n in LISTS if n in after])
@pytest.mark.parametrize("inner", GREEDY_ENSEMBLES)
def test_strategies_of_different_kinds_nest(outer: str, inner: str) -> None:
    model = build(outer)([PLAIN[0], build(inner)(PLAIN[1:])])
    laws.cost_names_the_models(model, laws.prompts_of(PLAIN[0]))


def test_a_model_that_breaks_a_law_is_found() -> None:
    class Forgetful(FakeTokenModel):
        def open(self, batch: int = 1) -> Any:
            session = super().open(batch)
            session.rollback = lambda lengths: None  # type: ignore[method-assign]
            return session

    table = [[float(i == j) for j in range(6)] for i in range(6)]
    model = Forgetful(lambda tokens: table[len(tokens) % 6], FakeTokenizer())
    with pytest.raises(AssertionError):
        laws.rollback_equals_fresh(model)
