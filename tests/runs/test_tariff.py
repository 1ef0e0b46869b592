"""What answers cost, in one unit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consort.core.errors import BadParameter, UnknownName
from consort.core.types import Usage
from consort.evaluate import Result
from consort.runs.pool import Member
from consort.runs.tariff import TOLD, WORK, Tariff, check_rates, tariff_of

KNOWN = ((1.0, 1.0),) * 4


def result(cost, rows=KNOWN, **more):
    return Result("m", "t", "fit", "exact_match", 1.0, (1.0, 1.0), rows, "key", cost=cost, **more)


def test_weights_at_work_times_tokens_over_all_models():
    found = result({"a": Usage(6, 2, 4), "b": Usage(0, 2, 4)}, sizes={"a": 100.0, "b": 10.0})
    assert Tariff().price(found) == (8 * 100 + 2 * 10) / 4


def test_what_is_not_known_has_no_price_and_who_was_not_asked_costs_nothing():
    assert Tariff().price(result({"a": Usage(6, 2, 4), "gpt": Usage(1, 1, 1)}, sizes={"a": 100.0})) is None
    assert Tariff().price(result({"a": Usage(6, 2, 4), "gpt": Usage()}, sizes={"a": 100.0})) == 200.0
    assert Tariff(WORK, {"gpt": 5.0}).price(result({"gpt": Usage(1, 1, 1), "gpt#2": Usage(1, 1, 1)})) == 5.0


def test_prices_that_tables_tell_count_where_no_model_has_weights():
    members = [Member("table:t#a", "a", None), Member("table:t#b", "b", None)]
    told = [
        result({name: Usage(1, 1, 3)}, (*KNOWN[:3], (0.0, 0.0)), details=tuple({"price": p} for p in (1, 2, 3)) + ({},))
        for name, p in (("a", 1), ("b", 2))
    ]
    tariff = tariff_of(members, told)
    assert tariff.unit == TOLD and tariff.per_answer == {"a": 2.0, "b": 2.0}
    assert tariff.price(told[0]) == 2.0  # of answers that are known
    assert tariff.price(result({"a": Usage(1, 1, 4), "b": Usage(1, 1, 2)})) == 3.0
    weights: object = object()
    mixed = tariff_of([members[0], replace(members[1], checkpoint=weights)], told, {"a": 7.0})
    assert mixed.unit == WORK and mixed.per_token == {"a": 7.0} and not mixed.per_answer


def test_prices_of_nobody_and_of_weights_are_refused():
    members = [Member("openai:gpt@http://127.0.0.1:1", "gpt", None), Member("lab:a", "a", object())]
    assert check_rates(members, {"openai:gpt@http://127.0.0.1:1": 3}) == {"gpt": 3.0}
    with pytest.raises(UnknownName, match="gtp"):
        check_rates(members, {"gtp": 1.0})
    with pytest.raises(BadParameter, match="has weights"):
        check_rates(members, {"a": 1.0})
    with pytest.raises(BadParameter, match="no price"):
        check_rates(members, {"gpt": float("nan")})
