"""A plan that leaves something to a search is pointed to the verb that runs it."""

from __future__ import annotations

import pytest

from consort.core.errors import BadPlan
from consort.plan import parse

SPACE = {"linear": {"models": ["a", "b"], "weight": {"free": [0, 1]}}}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"search": {"optimizer": "pso", "space": SPACE}}, "plan"),
        (SPACE, "plan.linear.weight"),
        ({"plan": SPACE}, "plan.linear.weight"),
        ({"models": {"a": SPACE}, "plan": "a"}, "models.a.linear.weight"),
        ({"vote": {"models": [{"cascade": {"models": ["a", "b"], "threshold": {"free": [0, 1]}}}]}},
         "plan.vote.models[0].cascade.threshold"),
    ],
)  # fmt: skip
def test_a_search_is_pointed_to_its_verb(document, field):
    with pytest.raises(BadPlan, match="which has to find the number") as caught:
        parse(document)
    assert caught.value.field == field and "`consort search PLAN --task TASK --out DIR`" in caught.value.hint


def test_a_model_may_be_called_free():
    assert parse({"models": {"free": "lab:mirror"}, "plan": "free"}).root.text == "lab:mirror"
