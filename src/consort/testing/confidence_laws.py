"""Laws of confidences: a number in [0, 1] or None, a matter of the answer alone, larger for likelier tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

from consort.core.types import Completion
from consort.ensemble.answers.confidence import Confidence
from consort.ensemble.confidences import confidences
from consort.testing.law import Law, applies
from consort.testing.planned import planned

KINDS = ("confidence",)
LOGPROBS: Sequence[Sequence[float]] = ([-0.1], [-0.1, -2.0], [-3.0, -0.01, -0.5, -1.0], [0.0, 0.0], [-0.2] * 200)


def answer(logprobs: Sequence[float]) -> Completion:
    """An answer of which every token's log-probability is known (nats)."""
    text = "abcdefghij" * (1 + len(logprobs) // 10)
    details = {"logprobs": list(logprobs)}
    return Completion(text[: len(logprobs)], tuple(range(len(logprobs))), math.fsum(logprobs), details=details)


def sure_of(name: str) -> Confidence:
    """The confidence, as a plan makes it."""
    made: Confidence = planned(confidences, name)
    return made


def is_in_the_unit_interval(name: str) -> None:
    """For every answer it is a number in [0, 1], or None."""
    for logprobs in (*LOGPROBS, []):
        value = sure_of(name)(answer(logprobs))
        assert value is None or 0 <= value <= 1, f"{value} of an answer of {len(logprobs)} tokens"


def unknown_probabilities_are_no_fault(name: str) -> None:
    """Of an answer without probabilities it is None, or known by other means; nothing is raised."""
    value = sure_of(name)(Completion("some text"))
    assert value is None or 0 <= value <= 1, f"{value}"


def is_a_matter_of_the_answer(name: str) -> None:
    """Asked again, and after other answers, it is the same."""
    sure = sure_of(name)
    first = [sure(answer(logprobs)) for logprobs in LOGPROBS]
    assert first == [sure(answer(logprobs)) for logprobs in reversed(LOGPROBS)][::-1]


def likelier_tokens_are_surer(name: str) -> None:
    """Where every token is likelier it is not less, and somewhere it is more."""
    sure = sure_of(name)
    pairs = [(sure(answer(logprobs)), sure(answer([x / 2 for x in logprobs]))) for logprobs in LOGPROBS]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    applies(known, "it does not follow from probabilities")
    assert all(one <= other for one, other in known), f"{known}"
    assert any(one < other for one, other in known), "it is the same whatever the probabilities"


def a_cascade_stops_where_it_is_sure(name: str) -> None:
    """In a plan `cascade: {confidence: NAME}` an answer of certain tokens is taken, however high the threshold."""
    from consort.ensemble.after import after
    from consort.testing.answer_laws import Said

    class Sure(Said):
        gives_logprob = True

        def generate(self, prompts, sampling=None):  # type: ignore[no-untyped-def]
            """A completion for each prompt, in order."""
            return [answer([0.0, 0.0]) for _ in prompts]

    sure = sure_of(name)
    applies(sure(answer([0.0, 0.0])) == 1, "it is never 1, even of tokens that are certain")
    cascade = after.get("cascade")([Sure("a", "x"), Said("b", "y")], threshold=1.0, confidence=name_or(name, sure))
    assert cascade.generate(["ab"])[0].details["answered_by"] == "a"


def name_or(name: str, made: Confidence) -> str | Confidence:
    """The name, where it is enough to make the confidence, so that the way of plans is taken."""
    return made if any(p.required for p in confidences.entry(name).params) else name


LAWS: tuple[Law, ...] = (
    is_in_the_unit_interval,
    unknown_probabilities_are_no_fault,
    is_a_matter_of_the_answer,
    likelier_tokens_are_surer,
    a_cascade_stops_where_it_is_sure,
)
