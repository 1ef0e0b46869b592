"""Speculation changes nothing: greedy answers token for token, sampled ones by chi-square against exact odds."""

from __future__ import annotations

import pytest

from consort.testing.speculation_laws import LAWS, SAMPLINGS, Build, check, the_distribution_is_the_targets


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, build: Build, kind: str) -> None:
    law(build, kind)


def test_a_registered_drafter_is_checked_by_its_name() -> None:
    check("lookup")


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_distribution_of_many(build: Build, sampling: str, kind: str) -> None:
    the_distribution_is_the_targets(build, kind, [sampling], samples=20_000)
