"""Every registered router keeps the laws; a new file is tested because it exists."""

from __future__ import annotations

import pytest

from consort.ensemble.before import before
from consort.testing import router_laws as laws
from consort.testing.built import exempt


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", list(before))
def test_laws(name, law):
    reason = exempt(before, name).get(law.__name__)
    if reason:
        pytest.skip(reason)
    law(name)


def test_one_call_runs_them_all():
    assert laws.check("length") == [law.__name__ for law in laws.LAWS]


def test_exemptions_name_laws_and_have_reasons():
    known = {law.__name__ for law in laws.LAWS}
    for name in before:
        assert set(exempt(before, name)) <= known
        assert all(len(reason) > 20 for reason in exempt(before, name).values())
