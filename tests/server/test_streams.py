"""A stream is the answer: for every strategy that has one, in Python and through the server's members."""

from __future__ import annotations

import numpy as np
import pytest

import consort as c
from consort.core.errors import EnvironmentFailure
from consort.core.types import Sampling
from consort.ensemble.learning.observations import Observed
from consort.models.fake import FakeModel
from consort.server.members import Members
from consort.server.request import Asked, Context
from consort.server.scheduler.scheduler import Scheduler
from consort.testing.model_laws import strategies, without_time
from consort.testing.sampling_laws import subject_of
from tests.server.conftest import letters


def heard(pieces):
    found = []
    while True:
        try:
            found.append(next(pieces))
        except StopIteration as end:
            return "".join(found), end.value


@pytest.mark.parametrize("name", sorted(strategies()))
def test_pieces_are_the_answer(name):
    model = subject_of(name).strategy
    if not hasattr(model, "stream"):
        pytest.skip("answers at the end")
    sampling = Sampling(max_tokens=6, temperature=1.0)
    text, answer = heard(model.stream("abc", sampling))
    (right,) = model.generate(["abc"], sampling)
    assert text == answer.text == right.text
    assert without_time([answer])[0].cost == without_time([right])[0].cost


def test_a_member_that_fails_before_its_first_piece_is_replaced():
    def fails(text):
        raise EnvironmentFailure("is away")

    router = c.best_single([FakeModel(fails, name="a"), FakeModel(lambda text: "good", name="b")])
    quality = np.array([[1.0, 0.5]] * 20)
    router = router.fit(Observed(tuple(router.labels), ["x" * (1 + i % 5) for i in range(20)], quality))
    text, answer = heard(router.stream("x"))
    assert text == "good" and answer.details["failed"] == {"a": "is away"}


def test_members_are_decoded_in_the_common_batch():
    scheduler = Scheduler()
    scheduler.start()
    members = Members(scheduler)
    a, b = letters(1), letters(2)
    cascade = members.strategy(c.cascade([a, b], threshold=1.0))
    context = Context("x", "cascade")
    before = scheduler.steps
    text, answer = heard(cascade.stream("abc", Asked(max_tokens=5, context=context)))
    (right,) = c.cascade([a, b], threshold=1.0).generate(["abc"], Sampling(max_tokens=5))
    assert text == right.text and scheduler.steps - before >= 10
    assert without_time([answer])[0].cost == without_time([right])[0].cost
    assert context.asked == ["letters-1", "letters-2"]
    scheduler.close()
