"""Speculation changes nothing: greedy answers token for token, sampled ones by chi-square against exact odds.

Registered drafters are tried in tests/laws.
"""

from __future__ import annotations

import pytest

from consort.testing.speculation_laws import DRAFT_LAWS, SAMPLINGS, Build, the_distribution_is_the_targets


@pytest.mark.parametrize("law", DRAFT_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("build", ["a draft", "a pair as the draft", "any text", "no draft"], indirect=True)
def test_law(law, build: Build, kind: str) -> None:
    law(build, kind)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_distribution_of_many(build: Build, sampling: str, kind: str) -> None:
    the_distribution_is_the_targets(build, kind, [sampling], samples=20_000)
