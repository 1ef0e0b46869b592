"""A cascade asks until one is sure."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadParameter, UnknownName, Unsupported
from consort.ensemble.after.cascade import Cascade
from consort.models import FakeModel, FakeTokenModel


def sure(name: str, probability: float) -> FakeModel:
    return FakeModel(lambda prompt: f"{name} {prompt}", name=name, logprob=lambda text: 2 * math.log(probability))


def test_the_first_confident_model_answers() -> None:
    team = Cascade([sure("small", 0.4), sure("middle", 0.8), sure("big", 0.9)], threshold=0.7)
    (answer,) = team.generate(["x"])
    assert answer.text == "middle x"
    assert answer.details["answered_by"] == "middle"
    assert answer.details["confidence"] == pytest.approx({"small": 0.4, "middle": 0.8})
    assert {name: usage.calls for name, usage in answer.cost.items()} == {"small": 1, "middle": 1}


def test_each_prompt_goes_its_own_way_and_order_is_kept() -> None:
    small = FakeModel(str, name="small", logprob=lambda text: 0.0 if text == "easy" else -9.0)
    answers = Cascade([small, sure("big", 0.9)]).generate(["hard", "easy", "hard"])
    assert [a.text for a in answers] == ["big hard", "easy", "big hard"]
    assert [list(a.cost) for a in answers] == [["small", "big"], ["small"], ["small", "big"]]


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5), st.data())
def test_it_equals_the_loop_over_one_prompt(probabilities: list[float], data: st.DataObject) -> None:
    n = len(probabilities)
    thresholds = data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    (answer,) = Cascade([sure(str(i), p) for i, p in enumerate(probabilities)], threshold=thresholds).generate(["q"])
    level = next((i for i in range(n - 1) if math.exp(math.log(probabilities[i])) >= thresholds[i]), n - 1)
    if all(abs(p - t) > 1e-9 for p, t in zip(probabilities, thresholds, strict=True)):
        assert (answer.text, len(answer.cost)) == (f"{level} q", level + 1)


def test_threshold_0_never_escalates_and_1_does_for_the_unsure() -> None:
    models = [sure("small", 0.99), sure("big", 0.5)]
    assert Cascade(models, threshold=0.0).generate(["x"])[0].text == "small x"
    assert Cascade(models, threshold=1.0).generate(["x"])[0].text == "big x"


def test_confidences_by_hand() -> None:
    table = [[0.0, 0.8, 0.2, 0.0], [0.1, 0.0, 0.0, 0.9], [0.25] * 4, [0.25] * 4]
    model = FakeTokenModel.bigram(table, name="m", tokenizer=_two())
    for name, wanted in (("mean_probability", math.sqrt(0.72)), ("min_probability", 0.8), ("probability", 0.72)):
        (answer,) = Cascade([model], confidence=name).generate(["a"])  # type: ignore[arg-type]
        assert answer.details["confidence"]["m"] == pytest.approx(wanted)


def _two():  # type: ignore[no-untyped-def]
    from consort.models import FakeTokenizer

    return FakeTokenizer("ab")


def test_a_model_that_tells_no_probability_is_refused_unless_it_is_last(caplog: pytest.LogCaptureFixture) -> None:
    silent = FakeModel({"x": "y"}, name="silent")
    with pytest.raises(Unsupported, match="silent does not tell how probable"):
        Cascade([silent, sure("big", 0.5)])
    (answer,) = Cascade([sure("small", 0.1), silent]).generate(["x"])
    assert (answer.text, answer.logprob) == ("y", None)
    (answer,) = Cascade([sure("small", 0.1), silent], confidence="min_probability").generate(["x"])
    assert answer.details["answered_by"] == "silent"
    assert "1 of 1 answers tell no probability: the next model is asked" in caplog.text


def test_bad_arguments_are_named() -> None:
    for bad in ({"threshold": 1.5}, {"threshold": [0.5]}, {"confidence": "gut"}):
        with pytest.raises((BadParameter, UnknownName), match=next(iter(bad))):
            Cascade([sure("a", 0.5), sure("b", 0.5)], **bad)  # type: ignore[arg-type]
    with pytest.raises(BadParameter, match="models"):
        Cascade([])


def test_cascades_of_cascades_name_who_answered() -> None:
    inner = Cascade([sure("a", 0.1), sure("b", 0.2)], threshold=0.5)
    (answer,) = Cascade([inner, sure("c", 0.9)], threshold=0.5).generate(["x"])
    assert answer.details["answered_by"] == "c"
    assert list(answer.cost) == ["a", "b", "c"]
