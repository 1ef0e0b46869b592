from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consort.report.charts import Mark, coefficient_chart, history_chart, interval_chart, nice_ticks

LEVEL = st.floats(-1e6, 1e6).filter(lambda v: v == 0 or abs(v) > 1e-6)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.13, 0.97, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 0, [0, 0.2]), (95, 105, [94, 96, 98, 100, 102, 104, 106])],
)
def test_ticks_by_hand(low, high, ticks):
    found = nice_ticks(low, high)
    assert found[0] <= low and found[-1] >= high
    if (low, high) != (0, 0):
        assert found == pytest.approx(ticks)


@given(LEVEL, LEVEL)
def test_ticks_enclose_and_are_few(a, b):
    low, high = sorted((a, b))
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack and 2 <= len(ticks) <= 8
    assert all(x < y for x, y in zip(ticks, ticks[1:], strict=False))


def numbers(svg: str, attribute: str, kind: str) -> list[float]:
    return [float(v) for v in re.findall(rf'class="{kind}"[^>]*? {attribute}="([-0-9.]+)"', svg)]


def test_dots_and_whiskers_are_where_the_axis_says():
    svg = interval_chart([Mark("a", 0.5, 0.25, 0.75, "winner"), Mark("b", 0.0, 0.0, 1.0)], title="t")
    assert numbers(svg, "cx", "dot winner") == [230] and numbers(svg, "cx", "dot single") == [14]
    assert numbers(svg, "x1", "whisker single") == [14] and numbers(svg, "x2", "whisker single") == [446]
    assert "<desc>a 0.500 (0.250 to 0.750); b 0.000 (0.000 to 1.000)</desc>" in svg


def test_the_best_so_far_never_falls():
    svg = history_chart([0.5, None, 0.25, 1.0], 0.75, title="t")
    levels = [float(v) for v in re.findall(r"V([0-9.]+)", svg)]
    assert (
        len(numbers(svg, "cx", "tried")) == 3 and levels == sorted(levels, reverse=True) and "best of 4: 1.000" in svg
    )
    assert history_chart([None], 0.5, title="t") == "" and history_chart([], None, title="t") == ""


def test_bars_start_at_zero():
    svg = coefficient_chart({"a": 1.0, "b": -1.0, "c": 0.0}, title="t")
    assert numbers(svg, "x", "bar") == [230, 14, 230] and numbers(svg, "width", "bar") == [216, 216, 1]


def test_one_value_and_odd_names_are_drawn():
    svg = interval_chart([Mark("<b>&" + "x" * 80, 0.3, 0.3, 0.3)], title='"quoted"')
    assert "<b>" not in svg and "…" in svg and "&lt;b&gt;&amp;" in svg and "&#34;quoted&#34;" in svg
    assert not math.isnan(sum(numbers(svg, "cx", "dot single")))
