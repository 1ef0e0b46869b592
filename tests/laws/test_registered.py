"""Everything that is registered keeps the laws of its kind; a new file is tested because it exists."""

from __future__ import annotations

from typing import Any

import pytest

from consort.core.catalogue import registries
from consort.core.registry import Registry
from consort.testing import registered_laws, sampling_laws
from consort.testing.battery import laws_of, verdict
from consort.testing.law import Law

CASES = [
    pytest.param(registry, name, law, id=f"{registry.kind}.{name}-{law.__name__}")
    for registry in registries()
    for law in laws_of(registry)
    for name in registry
]


@pytest.mark.parametrize(("registry", "name", "law"), CASES)
def test_law(registry: Registry[Any], name: str, law: Law) -> None:
    found = verdict(registry, name, law)
    if found.state == "does not apply":
        pytest.skip(found.why)
    if found.state == "broken":
        law(name)  # with its traceback
    assert found.state == "ok", found.why


def test_every_value_outside_a_declared_range_or_choice_is_refused(record_property: Any) -> None:
    """n of n, in Python: nothing is left out."""
    cases = [
        (registry, name, parameter, value)
        for registry in registries()
        for name in registry
        for parameter, value in registered_laws.cases_outside(registry, name)
    ]
    taken = [case for case in cases if not _is_refused(*case)]
    record_property("refused", f"{len(cases) - len(taken)} of {len(cases)}")
    print(f"refused: {len(cases) - len(taken)} of {len(cases)}")
    assert len(cases) > 500 and taken == []


def _is_refused(registry: Registry[Any], name: str, parameter: str, value: Any) -> bool:
    try:
        registered_laws.refused(registry, name, parameter, value)
    except AssertionError:
        return False
    return True


def test_declared_numbers_have_bounds_that_are_tried() -> None:
    """The cases follow from the signatures: a range with two ends gives two, choices one."""
    declared = [p for r in registries() for n in r for p in (*r.inputs, *r.entry(n).params) if p.range or p.choices]
    ends = sum(len([*registered_laws.outside(p)]) for p in declared)
    cases = [case for r in registries() for n in r for case in registered_laws.cases_outside(r, n)]
    assert len(cases) == ends >= len(declared)


@pytest.mark.parametrize("registry", registries(), ids=lambda registry: registry.kind)
def test_exemptions_name_laws_and_have_reasons(registry: Registry[Any]) -> None:
    known = {law.__name__ for law in laws_of(registry)}
    for name in registry:
        for law, reason in registry.entry(name).options.get("exempt", {}).items():
            assert law in known and len(reason) > 20, f"{name}: {law}: {reason}"


@pytest.mark.parametrize("kind", sampling_laws.KINDS)
def test_every_setting_of_sampling_is_a_law_of_strategies(kind: str) -> None:
    (registry,) = [one for one in registries() if one.kind == kind]
    assert set(sampling_laws.LAWS) <= set(laws_of(registry))
