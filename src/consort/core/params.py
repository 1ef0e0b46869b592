"""Parameters are read from the signature itself: no second schema to keep in step.

A signature is read as text (from source or `__annotations__`), so a method can be listed and a plan checked without
importing the method's module, hence without torch. The grammar of annotations:

    float | int | bool | str             a plain value
    Literal["a", "b"]                    one of these
    Sequence[T]                          a list
    PerModel[T]                          one value for all models, or a list with one for each
    Annotated[T, Range(low, high)]       a number in the closed interval [low, high]
    T | None                             may be left out
    Checkpoint, LanguageModel, Drafter, Metric, ... (or a Sequence): a kind, hence an expression in a plan
    Sequence[Slice]                      layers of checkpoints: a list of {model: EXPRESSION, layers: [a, b]}

Types of a kind are written in lower case in `Param.type`: `Drafter` is "drafter"; LanguageModel, TokenModel and Scorer
are three protocols of one kind, "model". Which of them plans read as expressions follows from the registries there are.

Where `bind` is told so, a value may be a schedule over layers and names (core/schedule.py).
"""

from __future__ import annotations

import ast
import inspect
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, Union

from consort.core.counted import counted
from consort.core.errors import BadParameter, ConsortError, did_you_mean, together
from consort.core.schedule import is_schedule, read_schedule

T = TypeVar("T")
PerModel = Union[T, Sequence[T]]  # noqa: UP007  (a generic alias; `|` needs Python 3.12)

PROTOCOLS = {"LanguageModel": "model", "Scorer": "model", "TokenModel": "model"}
NUMBERS = {"float", "int"}
PLAIN = {*NUMBERS, "bool", "str", "choice"}


class Required:
    """The default of a parameter that has none."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = Required()


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, both included: `Annotated[float, Range(0, 1)]`; a bound may be `inf`, a value may not."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]"


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: `type` is float, int, bool, str, choice, or a kind: checkpoint, model, drafter, ...

    `fixed`: it has one value for all tensors, whatever `bind` allows the others.
    """

    name: str
    type: str
    default: Any = REQUIRED
    range: Range | None = None
    choices: tuple[Any, ...] = ()
    per_model: bool = False
    many: bool = False
    optional: bool = False
    fixed: bool = False

    @property
    def plan_name(self) -> str:
        """The name in plans: `lambda_` is written `lambda`."""
        return self.name.rstrip("_")

    @property
    def is_plain(self) -> bool:
        """Whether it is a number, a truth value or a text, which `check` can check."""
        return self.type in PLAIN

    @property
    def required(self) -> bool:
        """Whether a call without it is refused."""
        return self.default is REQUIRED and not self.optional

    def describe(self) -> str:
        """The type as a reader of a plan sees it, e.g. "float in [0, 1], per model"."""
        text = " | ".join(str(c) for c in self.choices) if self.choices else self.type
        text += f" in {self.range}" if self.range else ""
        return text + (", list" if self.many else "") + (", per model" if self.per_model else "")


def name_of(definition: str) -> str:
    """The registered name of a function or class: `TaskArithmetic` and `task_arithmetic` are `task_arithmetic`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", definition).lower()


def params_of(function: Callable[..., Any], *, positional: bool = False) -> tuple[Param, ...]:
    """Parameters of a live function: the keyword-only ones, with `positional` all but self."""
    kinds = {inspect.Parameter.KEYWORD_ONLY} | ({inspect.Parameter.POSITIONAL_OR_KEYWORD} if positional else set())
    found = []
    for name, p in inspect.signature(function).parameters.items():
        if p.kind in kinds and name != "self":
            default = REQUIRED if p.default is inspect.Parameter.empty else p.default
            found.append(read_annotation(name, _source(p.annotation), default))
    return tuple(found)


def params_in(node: ast.FunctionDef, *, positional: bool = False) -> tuple[Param, ...]:
    """The same from source: `node` is the definition of the function."""
    arguments, found = node.args, []
    if positional:
        plain = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
        found += [_param_in(a, d) for a, d in zip(plain, defaults, strict=True) if a.arg != "self"]
    found += [_param_in(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return tuple(found)


def _param_in(argument: ast.arg, default: ast.expr | None) -> Param:
    found: dict[str, Any] = {"type": "str"}
    if argument.annotation:
        _read(_expression_in(argument.annotation), found)
    return Param(argument.arg, default=REQUIRED if default is None else ast.literal_eval(default), **found)


def _expression_in(annotation: ast.expr) -> ast.expr:
    """The annotation itself where it is written as a string."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _source(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def read_annotation(name: str, annotation: str, default: Any = REQUIRED) -> Param:
    """The parameter that an annotation's text declares."""
    found: dict[str, Any] = {"type": "str"}
    _read(ast.parse(annotation, mode="eval").body, found)
    return Param(name, default=default, **found)


def _read(node: ast.expr, found: dict[str, Any]) -> None:
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(value=None)):
            found["optional"] = True
            _read(left, found)
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *marks])):
            _read(inner, found)
            for mark in marks:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "Range":
                    found["range"] = Range(*(_number(a) for a in mark.args))
        case ast.Subscript(value=ast.Name(id="PerModel"), slice=inner):
            found["per_model"] = True
            _read(inner, found)
        case ast.Subscript(value=ast.Name(id="Sequence"), slice=inner):
            found["many"] = True
            _read(inner, found)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            found["type"] = "choice"
            found["choices"] = tuple(ast.literal_eval(c) for c in getattr(choices, "elts", [choices]))
        case ast.Name(id=name):
            found["type"] = PROTOCOLS.get(name) or name_of(name)


def _number(node: ast.expr) -> float:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    if isinstance(node, ast.Name | ast.Attribute) and getattr(node, "id", getattr(node, "attr", "")) == "inf":
        return math.inf
    return float(ast.literal_eval(node))


def bind(
    owner: str,
    params: Sequence[Param],
    given: Mapping[str, Any],
    models: int | None = None,
    *,
    schedules: bool = False,
) -> dict[str, Any]:
    """Check the values `given` (by plan or Python name) against `params` and fill in defaults.

    A per-model parameter becomes a tuple of `models` values. Expressions pass unchecked. With `schedules` a value may
    be one; it becomes a `Gradient` or `ByName`. Raises BadParameter, which names all faults where there are several.
    """
    by_name = {p.name: p for p in params} | {p.plan_name: p for p in params}
    faults: list[ConsortError] = []
    for key in given:
        if key not in by_name:
            hint = did_you_mean(str(key), {p.plan_name for p in params})
            faults.append(BadParameter(f"{owner} has no parameter {key!r}", field=str(key), hint=hint))
    named = {by_name[key].name: value for key, value in given.items() if key in by_name}
    bound = {}
    for p in params:
        try:
            bound[p.name] = _checked(owner, p, named.get(p.name, p.default), models, schedules)
        except BadParameter as fault:
            faults.append(fault)
    if faults:
        raise together(faults)
    return bound


def _checked(owner: str, p: Param, value: Any, models: int | None, schedules: bool) -> Any:
    if value is REQUIRED and not p.optional:
        raise BadParameter(f"{owner} needs {p.plan_name}", field=p.plan_name, hint=f"{p.plan_name}: {p.describe()}")
    if value is REQUIRED or (value is None and (p.optional or p.default is None)):
        return None
    if not p.is_plain:
        return value
    if p.per_model:
        return _checked_per_model(p, value, models, schedules)
    if p.many:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise _bad(p, value, "a list")
        return tuple(check(p, v) for v in value)
    return _one(p, value, schedules)


def _checked_per_model(p: Param, value: Any, models: int | None, schedules: bool) -> tuple[Any, ...]:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    values = list(value) if is_list else [value] * (models or 1)
    if models is not None and len(values) != models:
        message = f"{counted(len(values), 'value')} for {counted(models, 'model')}"
        raise BadParameter(message, field=p.plan_name, hint=f"give one value for all, or {models}")
    return tuple(_one(p, v, schedules) for v in values)


def _one(p: Param, value: Any, schedules: bool) -> Any:
    if not (schedules and not p.fixed and is_schedule(value)):
        return check(p, value)
    try:
        return read_schedule(value, lambda leaf: check(p, leaf))
    except ConsortError as error:
        raise error.within(p.plan_name) from None


def written_number(p: Param, value: Any) -> Any:
    """The number that a text gives for a numeric parameter, where a format writes them so (URLs, mergekit's YAML)."""
    try:
        return float(value) if isinstance(value, str) and p.type in NUMBERS else value
    except ValueError:
        return value


def check(p: Param, value: Any) -> Any:
    """One value of `p`, of its type and inside its range, or BadParameter."""
    if p.choices:
        if value not in p.choices:
            raise _bad(p, value, " | ".join(str(c) for c in p.choices))
        return value
    if p.type in NUMBERS:
        return _checked_number(p, value)
    if p.type == "bool" and not isinstance(value, bool):
        raise _bad(p, value, "true or false")
    if p.type == "str" and not isinstance(value, str | os.PathLike):
        raise _bad(p, value, "a string")
    return value


def _checked_number(p: Param, value: Any) -> float | int:
    try:
        number = None if isinstance(value, bool | str) else float(value)
    except (OverflowError, TypeError, ValueError):
        number = None
    if number is None or not math.isfinite(number) or (p.type == "int" and not number.is_integer()):
        raise _bad(p, value, {"int": "a whole number", "float": "a number that is finite"}[p.type])
    if p.range and not p.range.low <= number <= p.range.high:
        raise BadParameter(f"{value} is outside {p.range}", field=p.plan_name, hint=f"a number in {p.range}")
    return int(number) if p.type == "int" else number


def _bad(p: Param, value: Any, wanted: str) -> BadParameter:
    return BadParameter(f"{value!r} is not {p.describe()}", field=p.plan_name, hint=f"give {wanted}")
