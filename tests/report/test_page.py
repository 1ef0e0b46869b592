from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from consort.core.errors import BadData
from consort.report import render, write_report

EVIL = "</script><img src=x onerror=alert(1)>"
SCRIPTS = ["application/json", None]
VOID = {"meta", "link", "br", "img", "line", "circle", "rect", "path"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that is closed but not open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def test_the_page_stands_alone_and_is_whole(run_json, write):
    html = render(write(run_json))
    page = Page(html)
    assert page.open == [] and not page.all("img") and not page.all("link")
    assert [s.get("type") for s in page.all("script")] == SCRIPTS
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    own = html.rpartition("<script>")[2].partition("</script>")[0]
    assert base64.b64encode(hashlib.sha256(own.encode()).digest()).decode() in policy
    outside = html.replace(own, "").replace('href="#', "")
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|https?://", outside) and "http" not in own
    assert all("aria-label" in svg and svg["role"] == "img" for svg in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table")) and len(page.all("title")) == 1 + len(page.all("svg"))
    assert html == render(write(run_json))


def test_it_says_what_was_found(run_json, write):
    text = Page(render(write(run_json))).text
    for expected in (
        "Better on test than the best single model",
        "ties(density 0.2, lambda 2)",
        "+0.628",
        "takes two models, nine were given",
        "Test (320 examples)",
        "9f3c51d0a7be2468",
        "torch 2.13.0",
        "density: 0.2",
        "the plan vote(all) was not searched further",
    ):
        assert expected in re.sub(r"\s+", " ", text)


def test_the_best_single_stays(lost_json, write):
    text = re.sub(r"\s+", " ", Page(render(write(lost_json))).text)
    assert "No combination beat the best single model on held-out data, so it stays" in text and "Better" not in text


@pytest.mark.parametrize(
    ("name", "shown"), [("winner", "ties(density 0.2, lambda 2)"), ("other", "ties(density 0.2, lambda 2)")]
)
def test_the_winner_goes_by_the_name_of_its_candidate(run_json, write, name, shown):
    run_json["winner"]["name"] = run_json["test"][-1]["model"] = name
    page = Page(render(write(run_json)))
    assert shown in page.text and f'"{name}"' in page.text


def test_the_headline_is_no_stronger_than_the_interval(run_json, write):
    single, winner = run_json["test"][8], run_json["test"][-1]
    winner["statistics"] = [list(row) for row in single["statistics"]]
    assert "On test no better and no worse than the best single model" in render(write(run_json))
    first_wrong = next(i for i, row in enumerate(winner["statistics"]) if row[0] == 0)
    winner["statistics"][first_wrong][0] = 1.0
    assert "within the noise" in render(write(run_json))


def replaced(value, old, new):
    return json.loads(json.dumps(value).replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]))


@pytest.mark.parametrize(
    "old",
    ["expert-yell", "skills", "c b a", "mirror", "takes two models", "2.13.0", "ties(density 0.2, lambda 2)", "weight"],
)
def test_no_text_breaks_out(run_json, write, old):
    html = render(write(replaced(run_json, old, EVIL)))
    page = Page(html)
    assert "<img" not in html and EVIL in page.text and not page.all("img")
    assert [s.get("type") for s in page.all("script")] == SCRIPTS and html.count("</script>") == 2


def test_the_numbers_are_in_the_page_as_json(run_json, write):
    html = render(write(replaced(run_json, "skills", EVIL)))
    data = re.search(r'<script type="application/json" id="results">(.*?)</script>', html, re.DOTALL)
    wanted = replaced(run_json, "skills", EVIL)
    for result in [*wanted["singles"], *wanted["test"]]:  # texts stand in results.json
        del result["answers"], result["details"]
    assert json.loads(data.group(1)) == wanted


def test_a_short_run_without_test_groups_or_search(lost_json, write):
    small = lost_json | {"test": [], "search": [], "candidates": [], "decision": None, "provenance": {}, "base": None}
    small["singles"] = [r | {"groups": {}} for r in lost_json["singles"]]
    page = Page(render(write(small)))
    assert (
        page.open == [] and "on 96 examples of held-out data" in page.text and "What each is good at" not in page.text
    )


def test_every_table_of_data_has_a_name_to_be_saved_by(run_json, write):
    named = [t["data-name"] for t in Page(render(write(run_json))).all("table") if "data" in (t["class"] or "").split()]
    assert named == ["systems", "groups", "candidates", "answers", "inputs"]


def test_written_beside_the_results_or_elsewhere(run_json, write, tmp_path):
    folder = write(run_json)
    assert write_report(folder) == folder / "report.html"
    other = write_report(folder, tmp_path / "other.html")
    assert other.read_bytes() == (folder / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda run: "{", "not JSON"),
        (lambda run: [], "not a JSON object"),
        (lambda run: run | {"schema": 2}, "has schema 2, written by consort 0.1.0"),
        (lambda run: run.pop("schema") and run, "has no schema"),
        (lambda run: run.pop("verb") and run, "verb"),
        (lambda run: run | {"seed": "x"}, "seed"),
        (lambda run: run | {"singles": [run["singles"][0] | {"score": None}]}, "singles.0: Value error, score"),
        (lambda run: run | {"test": run["test"][:1]}, "winner"),
        (lambda run: run | {"candidates": [{"name": "x", "status": "won"}]}, "candidates.0.status"),
        (lambda run: run | {"winner": run["winner"] | {"coefficients": {"weight": {"a": "much"}}}}, "coefficients"),
    ],
)
def test_a_damaged_file_is_refused_by_name(run_json, write, tmp_path, damage, named):
    folder = write(run_json)
    damaged = damage(run_json)
    (folder / "results.json").write_text(damaged if isinstance(damaged, str) else json.dumps(damaged))
    with pytest.raises(BadData) as caught:
        write_report(folder)
    assert named in str(caught.value) and "results.json" in caught.value.field and caught.value.hint
    assert not (folder / "report.html").exists()


def test_no_results(tmp_path):
    with pytest.raises(BadData, match="no such file"):
        render(tmp_path)
