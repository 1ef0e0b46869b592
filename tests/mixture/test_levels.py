"""Every level and input of a mixture keeps the laws."""

from __future__ import annotations

from functools import cache, partial

import pytest
import torch

from consort.mixture.weight_mixture import WeightMixture
from consort.models import ByteTokenizer, load_model
from consort.testing import mixture_laws as laws
from consort.testing import model_laws
from consort.weights.checkpoint import Memory

LEVELS = [(level, input) for level in ("ffn", "block", "model") for input in ("sample", "first_token")]


@cache
def tiny(seed, kind="llama"):
    """A random model of three layers whose tokens are bytes."""
    import transformers

    shape = {"vocab_size": 256, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    config = transformers.AutoConfig.for_model(kind, **shape, eos_token_id=0, bos_token_id=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = transformers.AutoModelForCausalLM.from_config(config)
        tensors = {n: t + 0.2 * torch.randn_like(t) for n, t in module.state_dict().items()}
    return Memory(tensors, {**config.to_dict(), "model_type": kind}, name=f"tiny-{seed}")


@pytest.fixture(autouse=True)
def bytes_are_tokens(monkeypatch):
    given = ByteTokenizer(bos=1, eos=0)
    monkeypatch.setattr("consort.models.hf.loading._tokenizer", lambda *_: given)


def build(level, input, models, **given):
    return WeightMixture(tiny(0), models, level=level, input=input, **{"gate": "random", "seed": 3, **given})


EXPERTS = [1, 2, 3]


def experts():
    return [tiny(seed) for seed in EXPERTS]


@pytest.mark.parametrize(("level", "input"), [*LEVELS, ("ffn", "token")])
@pytest.mark.parametrize("num_dense", [0, 2])
def test_copies_are_the_dense_model(level, input, num_dense):
    laws.copies_are_the_dense_model(partial(build, level, input, num_dense=num_dense), load_model(tiny(0)), tiny(0))


@pytest.mark.parametrize(("level", "input"), [*LEVELS, ("ffn", "token")])
def test_all_dense_is_the_base(level, input):
    laws.all_dense_is_the_base(partial(build, level, input), load_model(tiny(0)), experts())


@pytest.mark.parametrize("law", laws.ROUTING_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(("level", "input"), LEVELS)
def test_routing(level, input, law):
    law(partial(build, level, input, num_dense=1), experts())


@pytest.mark.parametrize("law", model_laws.SESSION_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(("level", "input"), [("block", "first_token"), ("ffn", "token")])
def test_mixtures_that_route_by_tokens_are_token_models(level, input, law):
    law(build(level, input, experts()))


@pytest.mark.parametrize("law", model_laws.ANSWER_LAWS, ids=lambda law: law.__name__)
def test_answers(law):
    mixed = build("model", "sample", experts(), num_dense=1)
    law(mixed, model_laws.prompts_of(mixed))


def test_a_mixture_that_forgets_its_choice_is_found():
    def forgetful(models, **given):
        mixed = build("block", "sample", models, **given)
        opened = mixed.open

        def open_(batch=1):
            session = opened(batch)
            feed = session.inner.feed

            def anew(tokens, **options):
                session.routes.rows = [{} for _ in session.routes.rows]
                return feed(tokens, **options)

            session.inner.feed = anew
            return session

        mixed.open = open_
        return mixed

    with pytest.raises(AssertionError):
        laws.choice_is_kept(forgetful, experts())
