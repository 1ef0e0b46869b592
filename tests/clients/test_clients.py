"""The clients that people use, against a running server: every script asserts what it sees."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("variable", ["CONSORT_CLIENT_OPENAI_2", "CONSORT_CLIENT_OPENAI_3"])
def test_openai(run, variable):
    assert run(variable, "openai_client.py")["version"].startswith(variable[-1])


def test_anthropic(run):
    assert run("CONSORT_CLIENT_ANTHROPIC", "anthropic_client.py")["version"]


def test_litellm(run):
    assert run("CONSORT_CLIENT_LITELLM", "litellm_client.py")["version"]
