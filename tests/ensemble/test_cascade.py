"""A cascade asks until one is sure."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.core.errors import BadParameter, EnvironmentFailure, UnknownName, Unsupported
from consort.core.types import Sampling
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


class Broken(FakeModel):
    """Answers nothing, or breaks off after its first piece."""

    def __init__(self, name: str, pieces: tuple[str, ...] = ()) -> None:
        super().__init__(str, name=name, logprob=0.0)
        self.pieces = pieces

    def generate(self, prompts, sampling=Sampling()):  # type: ignore[no-untyped-def]
        raise EnvironmentFailure("does not answer in time", field=self.name)

    def stream(self, prompt, sampling=Sampling()):  # type: ignore[no-untyped-def]
        yield from self.pieces
        raise EnvironmentFailure("does not answer in time", field=self.name)


def heard(pieces):  # type: ignore[no-untyped-def]
    """The pieces of a stream, and the completion at its end."""
    found = []
    while True:
        try:
            found.append(next(pieces))
        except StopIteration as end:
            return found, end.value


def test_a_model_that_fails_is_passed_over_and_named() -> None:
    team = Cascade([Broken("a"), sure("b", 0.9), sure("c", 0.9)])
    for answer in (*team.generate(["x", "y"]), heard(team.stream("x"))[1]):
        assert answer.details["answered_by"] == "b" and answer.text.startswith("b ")
        assert answer.details["failed"] == {"a": "does not answer in time"}
        assert answer.details["asked"] == ("a", "b") and answer.details["confidence"] == {"b": pytest.approx(0.9)}
        assert list(answer.cost) == ["b"]


def test_where_the_last_model_fails_the_most_confident_answer_stands() -> None:
    team = Cascade([sure("a", 0.4), sure("b", 0.2), Broken("c")])
    (answer,), (pieces, streamed) = team.generate(["x"]), heard(team.stream("x"))
    assert (answer.text, pieces) == ("a x", ["a x"]) and answer.details == streamed.details
    assert answer.details["answered_by"] == "a" and list(answer.details["failed"]) == ["c"]
    assert Cascade([sure("a", 0.2), sure("b", 0.2), Broken("c")]).generate(["x"])[0].text == "b x"


def test_where_all_models_fail_the_first_error_is_raised() -> None:
    team = Cascade([Broken("a"), Broken("b")])
    for ask in (lambda: team.generate(["x"]), lambda: heard(team.stream("x"))):
        with pytest.raises(EnvironmentFailure) as caught:
            ask()
        assert caught.value.field == "a"


def test_a_stream_that_has_begun_is_not_replaced() -> None:
    pieces = Cascade([sure("a", 0.1), Broken("b", ("half",))]).stream("x")
    assert next(pieces) == "half"
    with pytest.raises(EnvironmentFailure):
        next(pieces)
