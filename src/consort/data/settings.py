"""The settings of a task: how models are asked, which metric grades them, and the metric's own options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from consort.core.errors import BadData, BadParameter, ConsortError, did_you_mean
from consort.core.params import Range, bind, params_of
from consort.data.registry import METRICS, Rule, rule_of
from consort.data.rows import SPLITS


@dataclass(frozen=True, slots=True)
class Options:
    """How the model is asked. `max_length` counts tokens with the beginning-of-text token that `bos` asks for.

    `stop` strings end the answer and are not part of it. What one metric alone needs is an option of that metric.
    """

    max_tokens: Annotated[int, Range(1, 1000000)] = 64
    stop: Sequence[str] = ()
    bos: bool = True
    max_length: Annotated[int, Range(2, 1000000)] = 256


@dataclass(frozen=True, slots=True)
class Grading:
    """The metric's rule, its own options (all of them), and how models are asked."""

    rule: Rule
    own: Mapping[str, Any] = field(default_factory=dict)
    options: Options = Options()


def files_of(settings: Mapping[Any, Any]) -> dict[str, str]:
    """The file of each split that is named. Raises BadData."""
    files = {name: settings[name] for name in SPLITS if settings.get(name) is not None}
    for name, file in files.items():
        if not isinstance(file, str):
            raise BadData(f"{file!r} is not a path", field=name, hint="give one file of rows")
    return files


def metric_of(value: Any, *, allow_code: bool) -> tuple[Rule | None, Mapping[str, Any]]:
    """The rule and the options that `metric:` gives: NAME, or {NAME: {option: value}}. Raises UnknownName, BadData."""
    if value is None:
        return None, {}
    given: Any = {}
    if isinstance(value, Mapping) and len(value) == 1:
        [(value, given)] = value.items()
    rule = rule_of(value, allow_code=allow_code)
    if not isinstance(given, Mapping | None):
        what = f"{given!r} are not options"
        raise BadData(what, field=f"metric.{rule.name}", hint=f"write {{{rule.name}: {{option: value}}}}")
    return rule, given or {}


def grading_of(settings: Mapping[Any, Any], rule: Rule, nested: Mapping[str, Any] | None = None) -> Grading:
    """What settings say, `metric:` and the splits aside; the metric's options may stand among them or are `nested`.

    Raises BadData for a key that is nobody's, BadParameter for a value out of range.
    """
    asked = params_of(Options, positional=True)
    flat = {p.plan_name for p in rule.params}
    check_keys(settings, rule)
    twice = sorted((nested or {}).keys() & settings.keys())
    if twice:
        raise BadData("stands twice", field=f"metric.{rule.name}.{twice[0]}", hint="keep one of the two")
    for_asking = {key: value for key, value in settings.items() if key not in (*SPLITS, "metric", *flat)}
    options = Options(**bind("a task", asked, _with_one_stop(for_asking)))
    if "" in options.stop:
        raise BadParameter("an empty string cannot end an answer", field="stop", hint="give non-empty strings")
    own = {key: settings[key] for key in settings if key in flat}
    if not nested:
        return Grading(rule, rule.options(own), options)
    try:
        return Grading(rule, rule.options(own | dict(nested)), options)
    except ConsortError as error:
        raise error.within(f"metric.{rule.name}") from None


def check_keys(settings: Mapping[Any, Any], rule: Rule | None) -> None:
    """Refuse keys that mean nothing: BadData, which names the metric that knows such an option."""
    own = [p.plan_name for p in rule.params] if rule else []
    known = (*SPLITS, "metric", *(p.name for p in params_of(Options, positional=True)), *own)
    for key in settings:
        if key not in known:
            others = [n for n, e in METRICS.entries().items() if key in {p.plan_name for p in e.params}]
            hint = f"it is an option of {', '.join(others)}" if others else did_you_mean(str(key), known)
            raise BadData(f"unknown key {key!r}", hint=hint)


def _with_one_stop(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"stop": [given["stop"]]} if isinstance(given.get("stop"), str) else given
