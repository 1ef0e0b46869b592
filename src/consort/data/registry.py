"""Which metrics a task file may name, and what each asks of it; read from their source, so nothing is imported.

The metrics themselves are in a layer above (evaluate/metrics, one file each, and plug-ins of the group
`consort.metric`). A task is read, and refused, by what stands in their decorators and signatures.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import getsource
from textwrap import dedent
from typing import Any

from consort.core.errors import BadData, BadParameter, ConsortError, UnknownName, did_you_mean
from consort.core.guard import told, users_code
from consort.core.params import Param, bind, params_in, params_of
from consort.core.registry import Registry

METRICS: Registry[Any] = Registry("metric", "consort.evaluate.metrics", decorator="metric", produces="metric")
FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
PLANNED = ("judge", "reward")
INFERRED = ("choices", "text", "target")
"""Columns from which a metric follows, where none is named, in this order."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a metric asks of a task: columns of every row, options, and consent where `consent` says what is risked."""

    name: str
    needs: tuple[str, ...] = ()
    params: tuple[Param, ...] = ()
    consent: str = ""

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options with their defaults. Raises BadParameter for a stranger or a value out of range."""
        return bind(f"the metric {self.name}", self.params, given)


def rule_of(name: Any, *, allow_code: bool = False) -> Rule:
    """The rule of a metric, or of the user's own `package.module:function`, which is imported with consent alone.

    Raises UnknownName, and BadData where consent is missing.
    """
    if isinstance(name, str) and FUNCTION.fullmatch(name):
        return _rule_of_function(name, allow_code)
    if name in PLANNED:
        hint = f"use {', '.join(METRICS)} or package.module:function"
        raise UnknownName(f"the metric {name!r} is not available yet", field="metric", hint=hint)
    if not isinstance(name, str) or name not in METRICS:
        raise UnknownName(f"no metric named {name!r}", field="metric", hint=did_you_mean(str(name), METRICS))
    entry = METRICS.entry(name)
    rule = Rule(name, _texts(entry.options.get("needs")), entry.params, str(entry.options.get("consent", "")))
    if rule.consent and not allow_code:
        hint = "if its sandbox will do, pass --allow-task-code (allow_code=True)"
        raise BadData(rule.consent, field="metric", hint=hint)
    return rule


def _rule_of_function(name: str, allow_code: bool) -> Rule:
    if not allow_code:
        hint = "where you trust the task and that code, pass --allow-task-code (allow_code=True)"
        raise BadData(f"{name!r} is code, which a task does not run by itself", field="metric", hint=hint)
    function = users_function(name)
    entry = declared(function)
    needs = _texts(entry.get("needs"))
    try:
        return Rule(name, needs, signature_of(function))
    except (TypeError, ValueError) as fault:
        hint = "a function of (answer, example) and keyword options with readable annotations"
        raise BadParameter(f"its signature cannot be read: {told(fault)}", field=f"metric {name}", hint=hint) from None


def signature_of(function: Callable[..., Any]) -> tuple[Param, ...]:
    """The keyword-only parameters of a live function as its source declares them, in the grammar of core/params.py."""
    try:
        [node] = ast.parse(dedent(getsource(function))).body
    except (OSError, SyntaxError, TypeError, ValueError):
        return params_of(function)
    return params_in(node) if isinstance(node, ast.FunctionDef) else params_of(function)


def users_function(name: str) -> Callable[..., Any]:
    """The function of `package.module:function`; its module is imported. Raises UnknownName, BadData."""
    module, _, attribute = name.partition(":")
    where = f"metric {name}"
    try:
        with users_code(where, "mend the module, which is run when it is imported"):
            try:
                found = getattr(import_module(module), attribute)
            except ImportError as fault:
                what, hint = told(fault).partition(": ")[2], "install the module or set PYTHONPATH"
                raise UnknownName(what, field=where, hint=hint) from fault
            except AttributeError:
                hint = "name a function of it"
                raise UnknownName(f"{module} has no {attribute}", field=where, hint=hint) from None
    except ConsortError as error:
        error.field = where
        raise
    if not callable(found):
        raise UnknownName("not a function", field=where, hint="a function of (answer, example)")
    made: Callable[..., Any] = found
    return made


def declared(function: Callable[..., Any]) -> Mapping[str, Any]:
    """What `@metric(…)` says of a function that has been imported; nothing of one without the decorator."""
    own = (e for e in METRICS.entries().values() if e.module == getattr(function, "__module__", None))
    return next((e.options for e in own if e.name == getattr(function, "__name__", None)), {})


def inferred(row: Mapping[str, Any], where: str) -> str:
    """The metric that follows from a row's columns. Raises BadData."""
    for column in INFERRED:
        if row.get(column) is not None:
            for name, entry in METRICS.entries().items():
                if entry.options.get("default_for") == column and entry.module.startswith(METRICS.package):
                    return name
    raise BadData("no target, choices or text", field=where, hint="add a target, or name a metric: in a YAML file")


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))
