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


def test_lm_eval(run):
    """Each log-likelihood through the server is the one that lm-eval has from the folder itself."""
    import consort as c
    from consort.lab import path
    from consort.server.run import Server

    folder = path("b-base")
    with Server(models={"b-base": c.model("lab:b-base")}, port=0) as running:
        found = run("CONSORT_CLIENT_LM_EVAL", "lm_eval_client.py", str(folder), url=running.url)
    assert found["count"] == 60 and found["worst"] <= 1e-4
