"""The page in a real browser: nothing that is said runs, and everything can be done by keyboard.

The browser is Debian's chromium, driven by playwright from an environment that CONSORT_BROWSER names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

import consort as c
from consort.models.fake import FakeModel
from consort.server.run import Server
from tests.server.conftest import letters

EVIL = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"


def test_files_have_a_policy_and_no_inline_code(client):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=|style=|https?://(?!www\.w3\.org)", page.text)
    script = client.get("/static/page.js").text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)
    for path in ("/static/style.css", "/static/icon.svg"):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/static/__init__.py", "/static/..%2fapp.py", "/static/../app.py", "/static/nothing.js"):
        assert client.get(path).status_code == 404


def test_the_token_view_is_the_ensembles(client, served):
    body = {"model": "average", "prompt": "abc", "max_tokens": 5}
    found = client.post("/consort/view", json=body).json()
    (right,) = served["average"].generate(["abc"], c.Sampling(max_tokens=5))
    assert found["text"] == right.text and len(found["tokens"]) == len(right.tokens)
    assert found["members"] == found["movers"] == ["letters-1", "letters-2"]
    import math

    for token, logprob in zip(found["tokens"], right.details["logprobs"], strict=True):
        assert token["p"] == pytest.approx(math.exp(logprob), abs=1e-5)
        assert token["p"] == pytest.approx(sum(token["members"]) / 2, abs=1e-5)
        for own, other, moved in zip(token["members"], token["members"][::-1], token["moved"], strict=True):
            assert moved == pytest.approx(math.log(token["p"] / other), abs=1e-2) and own > 0
        assert 0 <= token["disagreement"] <= 1
    assert client.post("/consort/view", json={"model": "vote", "prompt": "a"}).status_code == 400


def test_the_tree_of_a_plan(client):
    trees = {one["id"]: one for one in client.get("/consort/models").json()["models"]}
    assert trees["cascade"]["tree"]["settings"]["threshold"] == 0.5 and trees["cascade"]["streams"] == "accepted"
    assert [m["name"] for m in trees["average"]["tree"]["members"]] == ["letters-1", "letters-2"]


def test_the_zoo_is_what_is_loaded(client):
    assert client.get("/consort/zoo").json() == {"models": [], "similarity": None}  # no weights on disk
    models = {"base": c.model("lab:base"), "next": c.model("lab:next"), "far": c.model("lab:b-base"),
              "team": c.average([c.model("lab:base"), c.model("lab:next")])}  # fmt: skip
    with Server(models=models, port=0) as running:
        found = httpx.get(f"{running.url}/consort/zoo", timeout=60).json()
        assert found == httpx.get(f"{running.url}/consort/zoo", timeout=60).json()
    about = {one["id"]: one for one in found["models"]}
    assert {"base", "next", "far"} <= set(about) and "team" not in about
    module = models["base"].module
    assert about["base"]["parameters"] == sum(p.numel() for p in module.parameters())
    alike = found["similarity"]
    place = {name: i for i, name in enumerate(alike["models"])}
    cosine = alike["weights"][place["base"]][place["next"]]
    assert 0.5 < cosine < 1 and alike["weights"][place["base"]][place["base"]] == pytest.approx(1)


def with_documents():
    """A model that repeats the evidence it is shown; one of the documents is made of markup."""
    from consort.cooperate.retrieve import Augmented
    from consort.cooperate.retrieve.retrievers.bm25 import Bm25
    from consort.knowledge import TextIndex

    index = TextIndex.of([f"script document title hacked {EVIL}"])
    return Augmented(FakeModel(lambda text: f"document {EVIL} says {text}", name="reader"), Bm25(index=index), k=1)


DRIVE = Path(__file__).parent / "browser" / "drive.py"


def test_in_a_browser():
    folder, browser = os.environ.get("CONSORT_BROWSER"), shutil.which("chromium")
    if not folder or not browser:
        pytest.skip("CONSORT_BROWSER names no environment with playwright, or there is no chromium")
    shots = os.environ.get("CONSORT_SCREENSHOTS", "")
    evil = FakeModel(lambda text: f"{EVIL} {text}", name="<script>document.title='hacked'</script>", logprob=-0.1)
    models = {
        "team": c.average([letters(1), letters(2)]),
        "cascade": c.cascade([evil, FakeModel(lambda text: "careful", name="careful")], threshold=0.1),
        "base": c.model("lab:base"),
        "next": c.model("lab:next"),
        "far": c.model("lab:b-base"),
        "documents": with_documents(),
    }
    with Server(models=models, port=0) as running:
        command = [Path(folder) / "bin" / "python", "-I", DRIVE, running.url, browser, EVIL, shots]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["titles"] == ["consort"] and seen["errors"] == []
    assert seen["scripts"] == 1 and seen["images"] == 0
    assert all(width <= wanted for wanted, width in seen["widths"])
    assert EVIL in seen["answer"] and seen["tokens"] > 0 and seen["squares"] == 18
