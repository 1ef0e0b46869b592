"""Every registered compressor keeps the laws; a new file is tested because it exists."""

from __future__ import annotations

import pytest

from consort.cooperate.compress.compressors import COMPRESSORS
from consort.testing import compressor_laws as laws
from consort.testing.built import exempt


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", list(COMPRESSORS))
def test_laws(name, law):
    reason = exempt(COMPRESSORS, name).get(law.__name__)
    if reason:
        pytest.skip(reason)
    law(name)


def test_one_call_runs_them_all():
    assert laws.check("first") == [law.__name__ for law in laws.LAWS]
