"""One call runs all laws of a router (every router: test_registered)."""

from __future__ import annotations

from consort.testing import router_laws as laws


def test_one_call_runs_them_all():
    held = {law.__name__ for law in laws.LAWS} - {
        "a_large_lambda_takes_the_cheapest",
        "learns_what_there_is_to_learn",
    }
    assert set(laws.check("length")) == held
