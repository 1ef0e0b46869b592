"""`consort laws`: one line for each law, exit code 1 where one is broken."""

from __future__ import annotations

import json

import pytest

from consort.ensemble.confidences import confidences
from consort.ensemble.confidences.quantile import Quantile


def test_each_law_has_a_line(consort):
    shown = consort("laws", "confidence.quantile")
    assert shown.code == 0
    assert "confidence quantile: values_outside_are_refused: ok" in shown.out.splitlines()
    assert all(line.startswith("confidence quantile: ") for line in shown.out.splitlines())


def test_what_does_not_apply_says_why_in_json(consort):
    found = json.loads(consort("laws", "min_probability", "--json").out)
    assert found[0].keys() == {"kind", "name", "law", "state", "why"}
    assert {"does not apply": "it declares no range and no choice"} in [{v["state"]: v["why"]} for v in found]


def test_a_broken_law_is_exit_1_and_says_what_is_broken(consort, monkeypatch):
    monkeypatch.setattr(Quantile, "__call__", lambda self, answer: 2.0)
    shown = consort("laws", "quantile")
    assert shown.code == 1
    assert "confidence quantile: is_in_the_unit_interval: broken: 2.0 of an answer of 1 tokens" in shown.out


def test_what_a_method_raises_is_what_is_broken(consort, monkeypatch):
    def fails(self, answer):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(confidences.get("quantile"), "__call__", fails)
    shown = consort("laws", "quantile")
    assert shown.code == 1 and "broken: ZeroDivisionError: division by zero" in shown.out


@pytest.mark.parametrize("names", [("quantiles",), ("confidence.quantile", "reading.quantile")])
def test_unknown_names_are_refused_before_anything_runs(refused, names):
    assert "no method named" in refused("laws", *names)


def test_a_name_of_several_kinds_is_tried_as_each(consort):
    found = json.loads(consort("laws", "exact", "words", "--json").out)
    assert {v["name"] for v in found} == {"exact", "words"}
