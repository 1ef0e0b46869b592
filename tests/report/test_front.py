"""The view of the front: points lead to their plans, what is claimed of whom is said, and nothing breaks out."""

from __future__ import annotations

import re

import pytest

from consort.core.errors import BadData
from consort.report.charts import Point, front_chart
from consort.report.page import render


def point(name="average", file="average", **more):
    told = {"name": name, "kind": "merge", "plan": f"plans/{file}.yml", "fit": 0.402, "cost": 3e6, "seconds": 0.01}
    return {**told, "held_out": 0.39, "test": 0.41, "interval": [0.37, 0.45], "test_cost": 3.1e6, **more}


@pytest.fixture
def with_front(run_json, write):
    """The run folder with a front in its results."""

    def made(points, **more):
        return write({**run_json, "prices": {"average": 3e6, "base": 2e6}, "front": points, **more})

    return made


def test_a_point_is_listed_and_its_dot_leads_to_its_plan(with_front):
    html = render(with_front([point(winner=True)]))
    assert '<a href="plans/average.yml"><circle class="dot winner"' in html
    assert "Score against cost" in html and "average: 0.402 at 3e+06" in html
    assert re.search(r"<td[^>]*>0\.410</td><td[^>]*>0\.370 – 0\.450</td>", html)
    assert "claim nothing against one another" in html


def test_how_far_the_best_was_flattered_is_told_with_what_nothing_chose(with_front):
    chosen = {"looked_at": 41, "best": "average", "fit": 0.5, "held_out": 0.45, "optimism": 0.05, "halves": 0.01}
    html = render(with_front([point()], selection={**chosen, "interval": [-0.02, 0.12]}))
    assert "Systems looked at on fit: 41." in html
    assert "flattered it by +0.050 (-0.020 to +0.120)" in html and "differ by +0.010" in html


@pytest.mark.parametrize("plan", ["javascript:alert(1)", "../plans/a.yml", "plans/../a.yml", "https://a.example/b.yml"])
def test_a_plan_elsewhere_is_no_point(with_front, plan):
    with pytest.raises(BadData, match=r"front.0.plan"):
        render(with_front([point(plan=plan)]))


def test_names_are_escaped_in_the_chart():
    svg = front_chart([Point("<b>&", 1.0, 0.5, link="plans/b.yml", on_front=True), Point("a", 2.0, 0.6)], title="t")
    assert "<b>" not in svg and "&lt;b&gt;&amp;: 0.500 at 1" in svg


def test_the_line_joins_the_front_where_there_is_one():
    points = [Point("a", 1.0, 0.5, on_front=True), Point("b", 10.0, 0.6), Point("c", 100.0, 0.7, on_front=True)]
    assert "b 0.600" not in re.search("<desc>(.*?)</desc>", front_chart(points, title="t"))[1]
