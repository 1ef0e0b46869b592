"""The models for tests are what they say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from consort.core.errors import BadData
from consort.core.types import Sampling
from consort.models import FakeModel, FakeTokenizer, FakeTokenModel, LanguageModel, Scorer


def test_answers_from_a_table_or_a_function() -> None:
    table, function = FakeModel({"2+2=": "4"}, logprob=-0.5), FakeModel(str.upper)
    (answer,) = table.generate(["2+2="])
    assert (answer.text, answer.logprob, answer.cost["fake"].calls) == ("4", -0.5, 1)
    assert function.generate([[{"role": "user", "content": "abc"}]])[0].text == "ABC"
    assert isinstance(table, LanguageModel)
    assert not isinstance(table, Scorer)
    with pytest.raises(BadData, match="no answer to 'x'"):
        table.generate(["x"])


def test_an_answer_is_cut_to_max_tokens_and_at_stops() -> None:
    model = FakeModel({"q": "one two three"})
    assert model.generate(["q"], Sampling(max_tokens=2))[0].text == "one two"
    assert model.generate(["q"], Sampling(max_tokens=2))[0].finish_reason == "length"
    assert model.generate(["q"], Sampling(stop=("two",)))[0].text == "one "


def test_tokenizer() -> None:
    tokenizer = FakeTokenizer("ab")
    assert tokenizer.encode("ba") == [2, 1, 0]
    assert tokenizer.decode([2, 1, 0, 3]) == "ba"
    assert tokenizer.vocabulary_key == FakeTokenizer("ab").vocabulary_key
    assert tokenizer.vocabulary_key != FakeTokenizer("ba").vocabulary_key
    with pytest.raises(BadData, match="no token for"):
        tokenizer.encode("x")


def test_a_random_model_is_fixed_by_its_seed() -> None:
    first, again, other = (FakeTokenModel.random(s).open().feed([[0, 1]])[0] for s in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_naming_the_package_and_the_strategies_does_not_import_torch() -> None:
    code = (
        "import sys, consort.models, consort.models.base, consort.ensemble.during.average, "
        "consort.ensemble.after.cascade; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    import consort.models

    assert consort.models.__all__ == sorted(consort.models.__all__)
    assert all(getattr(consort.models, name) is not None for name in consort.models.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        consort.models.nonsense  # noqa: B018
