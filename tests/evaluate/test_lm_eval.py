"""The adapter for lm-eval: by a stand-in for its base class, and against its own `hf` model where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import math
from types import SimpleNamespace

import pytest
import torch

from consort.core.errors import MissingExtra, Unsupported
from consort.core.types import Sampling
from consort.evaluate import lm_eval
from consort.models.fake import FakeModel, FakeTokenizer, FakeTokenModel

INSTALLED = importlib.util.find_spec("lm_eval") is not None


class Base:
    """What the adapter uses of lm-eval's `LM`."""

    def __init__(self):
        self.kept = []
        self.cache_hook = SimpleNamespace(add_partial=lambda *entry: self.kept.append(entry))


def asked(*arguments):
    return [SimpleNamespace(args=args) for args in arguments]


@pytest.fixture
def bigram():
    """Four letters; after each, the next one in the alphabet has probability .7, every other token .06."""
    tokenizer = FakeTokenizer()
    size = tokenizer.vocab_size
    table = [[0.7 if j == (i + 1) % size else 0.3 / (size - 1) for j in range(size)] for i in range(size)]
    return FakeTokenModel.bigram(table, tokenizer)


def test_likelihoods_and_whether_they_are_greedy(bigram):
    model = lm_eval.adapter(Base)(model=bigram)
    found = model.loglikelihood(asked(("a", "bc"), ("a", "ba"), ("", "a")))
    assert found[0] == (pytest.approx(2 * math.log(0.7)), True)
    assert found[1] == (pytest.approx(math.log(0.7) + math.log(0.06)), False)
    assert found[2] == (pytest.approx(math.log(0.06)), False)
    assert model.kept[0][:2] == ("loglikelihood", ("a", "bc"))


def test_scores_are_those_of_the_model(bigram):
    pairs = [("ab", "ca"), ("b", " c"), ("a ", "b")]
    assert [value for value, _ in lm_eval.loglikelihoods(bigram, pairs)] == pytest.approx(bigram.score(pairs), abs=1e-5)


def test_long_texts_are_read_in_windows_each_token_once():
    assert lm_eval.windows([1, 2, 3], [0], None) == [([0], [1, 2, 3])]
    assert lm_eval.windows([1, 2, 3, 4, 5], [0], 2) == [([0], [1, 2]), ([2], [3, 4]), ([3, 4], [5])]
    assert lm_eval.windows([], [0], 2) == []
    for n in range(1, 12):
        told = [token for _, tail in lm_eval.windows(list(range(n)), [99], 4) for token in tail]
        assert told == list(range(n))


def test_rolling_adds_up(bigram):
    (whole,) = lm_eval.rolling(bigram, ["abc"])
    assert whole == pytest.approx(2 * math.log(0.06) + 2 * math.log(0.7), abs=1e-5)  # bos is read twice, as by `hf`


def test_generation_settings():
    assert lm_eval.sampling_of({"until": "\n", "max_gen_toks": 5}) == Sampling(max_tokens=5, stop=("\n",))
    drawn = lm_eval.sampling_of({"until": ["a", ""], "do_sample": True, "temperature": 0.8, "top_p": 0.9})
    assert drawn == Sampling(max_tokens=256, temperature=0.8, top_p=0.9, stop=("a",))
    assert lm_eval.sampling_of({"do_sample": False, "temperature": 0.7}).temperature == 0.0


def test_answers_come_in_order():
    model = lm_eval.adapter(Base)(model=FakeModel(lambda prompt: prompt.upper()))
    settings = {"until": ["!"], "max_gen_toks": 9}
    assert model.generate_until(asked(("x", settings), ("y", {}), ("z!w", settings))) == ["X", "Y", "Z"]


def test_models_without_the_ability_are_refused():
    with pytest.raises(Unsupported, match="does not score"):
        lm_eval.loglikelihoods(FakeModel({}), [("a", "b")])
    with pytest.raises(Unsupported, match="shows no tokens"):
        lm_eval.rolling(FakeModel({}), ["a"])


def test_a_scorer_without_logits_scores():
    scorer = SimpleNamespace(name="s", score=lambda pairs: [-1.5 for _ in pairs])
    assert lm_eval.loglikelihoods(scorer, [("a", "b")]) == [(-1.5, False)]


@pytest.mark.skipif(INSTALLED, reason="lm-eval is installed")
def test_a_missing_extra_is_named():
    with pytest.raises(MissingExtra) as caught:
        lm_eval.lm_class()
    assert "consort[eval]" in str(caught.value.hint)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not INSTALLED, reason="lm-eval is not installed: pip install 'consort[eval]'")
def test_equal_to_the_hf_model_of_lm_eval(shared):
    from lm_eval.api.registry import get_model
    from lm_eval.models.huggingface import HFLM

    lm_eval.register()
    folder = str(shared / "models" / "stories260K")
    theirs = HFLM(pretrained=folder, dtype="float32", batch_size=4, device="cpu")
    ours = get_model("consort")(folder)
    pairs = [("Once upon a time", " there was"), ("Lily went to ", "the park"), ("", "Hello"), ("A cat.", " A dog")]
    for a, b in zip(theirs.loglikelihood(asked_of_lm_eval(*pairs)), ours.loglikelihood(asked(*pairs)), strict=True):
        assert (a[0], a[1]) == (pytest.approx(b[0], abs=1e-4), b[1])
    texts = [("Tom and Lily played in the park. " * times,) for times in (1, 90)]
    rolled = theirs.loglikelihood_rolling(asked_of_lm_eval(*texts))
    assert rolled == pytest.approx(ours.loglikelihood_rolling(asked(*texts)), rel=1e-6, abs=1e-4)
    assert torch.get_default_dtype() == torch.float32


def asked_of_lm_eval(*arguments):
    instance = importlib.import_module("lm_eval.api.instance").Instance
    return [instance(request_type="loglikelihood", doc={}, arguments=args, idx=0) for args in arguments]
