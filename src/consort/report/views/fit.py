"""What a fit rests on: the rule of its gate, how many examples taught and decided, where the state is."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from consort.report.model import Report
from consort.report.parts import facts, number
from consort.report.views.registry import view

RULES = {"mean": "not worse on held-out examples", "strict": "surely not worse on held-out examples (90 %)"}


@view(title="How it was fitted", order=38)
def fit(report: Report, found: Any) -> Markup | None:
    """`details.fit`: {kept, rule, lower_bound_90, fit_examples, held_out_examples, data, state}."""
    pairs = [
        ("data", str(found["data"])),
        ("learned from", f"{found['fit_examples']} examples"),
        ("decided on", f"{found['held_out_examples']} held-out examples"),
        ("rule", RULES.get(found["rule"], str(found["rule"]))),
        ("lower 90 % bound of the difference", number(found["lower_bound_90"], sign=True)),
        ("kept", "the strategy" if found["kept"] else "the single model in its place"),
        ("state", str(found["state"] or "none")),
    ]
    return facts(pairs, caption="What the strategy learned from, and what decided")
