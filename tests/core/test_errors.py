"""Errors name their field and suggest what would be right."""

from __future__ import annotations

import pytest

from consort.core import errors
from consort.core.errors import BadParameter, ConsortError, did_you_mean, listing


def test_field_and_path_of_an_error():
    error = BadParameter("1.5 is outside [0, 1]", field="density").within("plan.ties")
    assert str(error) == "plan.ties.density: 1.5 is outside [0, 1]"


def test_suggestions_and_listings():
    assert did_you_mean("tise", ["ties", "linear"]) == "did you mean 'ties'?"
    assert did_you_mean("zzz", ["ties", "linear"]) == "known: linear, ties"
    assert listing(map(str, range(12)), most=10).endswith("; 9; and 2 more")


@pytest.mark.parametrize("name", [n for n in dir(errors) if isinstance(getattr(errors, n), type)])
def test_the_tree_is_drawn_in_the_docstring(name):
    if issubclass(getattr(errors, name), ConsortError):
        assert name in (errors.__doc__ or "")
