"""Views: a section or a note to each answer is one registered function; what it is given may be damaged."""

from __future__ import annotations

import sys

import pytest

from consort.report import render
from consort.report.parts import heat_map, joined, removed, shaded, table
from consort.report.views.registry import VIEWS, views


@pytest.fixture
def registered():
    """Registers views for one test; they are forgotten after it."""
    from consort.report.views.registry import view

    list(map(VIEWS.get, VIEWS))  # a module is imported once
    entries, items = dict(VIEWS._entries), dict(VIEWS._items)
    yield view
    VIEWS._entries.clear()
    VIEWS._entries.update(entries)
    VIEWS._items.clear()
    VIEWS._items.update(items)


def test_a_section_of_details_is_one_function(run_json, write, registered):
    @registered(title="Rounds & more", order=60)
    def rounds(report, found):
        """Shows details.rounds."""
        rows = [[one["round"], one["score"]] for one in found]
        return table(["round", report.metric], rows, caption="Score after each", name="rounds")

    assert "Rounds &amp; more" not in render(write(run_json))
    html = render(write(run_json | {"details": {"rounds": [{"round": 1, "score": 0.5}, {"round": 2, "score": 0.75}]}}))
    assert '<h2 id="rounds">Rounds &amp; more</h2>' in html and "0.75" in html and 'data-name="rounds"' in html
    assert html.index('id="answers"') < html.index('id="rounds"') < html.index('id="data"')


def test_a_view_beside_answers_is_given_each_ones_details(run_json, write, registered):
    @registered(title="doubt", on="answers")
    def doubt(report, found):
        """Shows details.doubt of an answer."""
        return joined(shaded(one["sentence"], one["doubt"]) for one in found)

    winner = run_json["test"][-1]
    winner["details"] = [{} for _ in winner["answers"]]
    winner["details"][0] = {"doubt": [{"sentence": "<b>surely</b>", "doubt": 0.25}], "answered_by": "expert-shout"}
    html = render(write(run_json))
    assert (
        '<mark style="--shade: 25%">&lt;b&gt;surely&lt;/b&gt;</mark>' in html
        and html.count('class="beside-name">doubt') == 1
    )
    assert "by expert-shout" in html


def test_details_that_a_view_cannot_read_leave_the_rest(run_json, write, registered, caplog):
    @registered(title="Rounds")
    def rounds(report, found):
        """Shows details.rounds."""
        return table(["round"], [[found["missing"]]], caption="", name="rounds")

    html = render(write(run_json | {"details": {"rounds": {}}}))
    assert "This part cannot be shown: KeyError" in html and "Where it comes from" in html
    assert "rounds cannot be shown" in caplog.text


def test_the_views_of_the_page_are_in_order():
    names = [one.name for one in views("run")]
    assert names == ["scores", "front", "groups", "winner", "tried", "who", "answers", "data", "provenance"]
    assert {"zoo", "history"} <= {one.name for one in views("details")}


def test_listing_views_imports_none_of_them():
    import subprocess

    code = (
        "import sys; from consort.report.views.registry import VIEWS; list(VIEWS);"
        "print([m for m in sys.modules if m.startswith('consort.report.views.') and not m.endswith('registry')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_parts_escape_and_make_control_characters_visible():
    made = str(table(["<i>"], [["\x1b[31m</td>\u202e"]], caption="<&>", name='"')) + str(removed("<b>\x07"))
    assert "<i>" not in made and "\x1b" not in made and "\\x1b[31m&lt;/td&gt;\\u202e" in made
    assert "<del>&lt;b&gt;\\x07</del>" in made and 'data-name="&#34;"' in made


def test_a_heat_map_has_its_numbers():
    made = str(heat_map(["", "a", "b"], [("x", [0.25, None]), ("y", [1.0, 0.5])], caption="", name="h"))
    assert all(f">{number}</td>" in made for number in ("0.25", "1.00", "0.50", "–"))
    assert "--shade: 0%" in made and "--shade: 100%" in made
