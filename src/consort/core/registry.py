"""One way to name a thing: a decorated definition in a module of a package, or an entry point of another distribution.

What a name means (parameters, paper, summary) is read from source, so listing and checking import no module.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from consort.core.errors import BadParameter, UnknownName, did_you_mean
from consort.core.params import Param, params_in, params_of, read_annotation

T = TypeVar("T")
D = TypeVar("D", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a registered name without importing it. `options` are the decorator's keyword arguments."""

    kind: str
    name: str
    module: str
    summary: str
    params: tuple[Param, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paper(self) -> str:
        return str(self.options.get("paper", ""))


class Registry(Generic[T]):
    """Names to objects of one kind.

    `package` is scanned for top-level definitions decorated with `decorator`; `produces` ("checkpoint", "model" or
    "") tells plans what an expression of this kind is; `inputs` are arguments that the kind itself adds to each name.
    """

    def __init__(
        self, kind: str, package: str, *, decorator: str, produces: str = "", inputs: tuple[Param, ...] = ()
    ) -> None:
        self.kind, self.package, self.decorator, self.produces, self.inputs = kind, package, decorator, produces, inputs
        self._items: dict[str, T] = {}
        self._entries: dict[str, Entry] = {}
        self._scanned = False

    def add(self, definition: Callable[..., Any], item: T, **options: Any) -> None:
        """Register a live definition (what a decorator does). A second definition of one name is a ValueError."""
        name = name_of(definition.__name__)
        known = self._entries.get(name)
        if name in self._items or (known and known.module != definition.__module__):
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._items[name] = item
        if known is None:
            is_class = inspect.isclass(definition)
            params = params_of(definition.__init__ if is_class else definition, positional=is_class)
            summary = _summary(definition.__doc__)
            self._entries[name] = Entry(self.kind, name, definition.__module__, summary, params, options)

    def registrar(self, wrap: Callable[..., T] | None = None) -> Callable[..., Callable[[D], D]]:
        """The decorator of this registry: `@strategy(paper="…")` adds the definition and returns it unchanged.

        `wrap(definition, **options)` makes the registered item; without it the definition itself is the item.
        """

        def decorator(**options: Any) -> Callable[[D], D]:
            def register(definition: D) -> D:
                item: Any = wrap(definition, **options) if wrap else definition
                self.add(definition, item, **options)
                return definition

            return register

        return decorator

    def get(self, name: str) -> T:
        """The object; its module is imported now. Raises UnknownName with a did-you-mean."""
        entry = self.entry(name)
        if name not in self._items:
            importlib.import_module(entry.module)
        return self._items[name]

    def entry(self, name: str) -> Entry:
        """What is known of `name` without importing it. Raises UnknownName."""
        entries = self.entries()
        if name not in entries:
            raise UnknownName(f"no {self.kind} named {name!r}", field=name, hint=did_you_mean(name, entries))
        return entries[name]

    def entries(self) -> Mapping[str, Entry]:
        """All entries, sorted by name."""
        self._scan()
        return dict(sorted(self._entries.items()))

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries())

    def __len__(self) -> int:
        return len(self.entries())

    def __contains__(self, name: object) -> bool:
        return name in self.entries()

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        spec = importlib.util.find_spec(self.package)
        for folder in (spec and spec.submodule_search_locations) or []:
            for file in sorted(Path(folder).rglob("*.py")):
                self._read(file, ".".join((self.package, *file.relative_to(folder).with_suffix("").parts)))
        for point in _select_points()(group=self.package):
            point.load()

    def _read(self, file: Path, module: str) -> None:
        text = file.read_text("utf-8")
        if f"@{self.decorator}(" not in text:  # parsing takes a hundred times as long
            return
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                options = _decoration(node, self.decorator)
                if options is not None:
                    name = name_of(node.name)
                    entry = Entry(
                        self.kind,
                        name,
                        module,
                        _summary(ast.get_docstring(node)),
                        _params(node, file),
                        options,
                    )
                    self._entries.setdefault(name, entry)


@cache
def _select_points() -> Callable[..., EntryPoints]:
    """Selects among the entry points of all distributions, whose files are looked through once for all registries."""
    return entry_points().select


def name_of(definition: str) -> str:
    """The registered name of a function or class: `TaskArithmetic` and `task_arithmetic` are `task_arithmetic`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", definition).lower()


def _decoration(node: ast.FunctionDef | ast.ClassDef, decorator: str) -> dict[str, Any] | None:
    for d in node.decorator_list:
        if isinstance(d, ast.Call) and isinstance(d.func, ast.Name) and d.func.id == decorator:
            return {k.arg: _literal(k.value) for k in d.keywords if k.arg}
    return None


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _params(node: ast.FunctionDef | ast.ClassDef, file: Path) -> tuple[Param, ...]:
    made_by = node if isinstance(node, ast.FunctionDef) else _constructor(node)
    if made_by is None:
        return ()
    try:
        return params_in(made_by, positional=made_by is not node)
    except (TypeError, ValueError):
        raise _no_schema(made_by, node.name, file, positional=made_by is not node) from None


def _constructor(node: ast.ClassDef) -> ast.FunctionDef | None:
    return next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)


def _no_schema(function: ast.FunctionDef, owner: str, file: Path, *, positional: bool) -> BadParameter:
    """The error for a signature that cannot be read without importing it; it names the first parameter at fault."""
    a = function.args
    plain = [*a.posonlyargs, *a.args]
    defaults = [*[None] * (len(plain) - len(a.defaults)), *a.defaults]
    read = [*zip(plain, defaults, strict=True)] if positional else []
    for argument, default in [*read, *zip(a.kwonlyargs, a.kw_defaults, strict=True)]:
        where = f"{file}:{argument.lineno}: {owner}.{argument.arg}"
        if default is not None and not _is_literal(default):
            hint = "write the value itself: signatures are read without importing the module"
            return BadParameter(f"the default {ast.unparse(default)} is no literal", field=where, hint=hint)
        if argument.annotation is not None and not _is_readable(argument.annotation):
            hint = "core/params.py has the grammar; bounds and choices are numbers and strings, or inf"
            return BadParameter(f"cannot read {ast.unparse(argument.annotation)}", field=where, hint=hint)
    return BadParameter("the signature cannot be read", field=f"{file}:{function.lineno}: {owner}")


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (TypeError, ValueError):
        return False
    return True


def _is_readable(annotation: ast.expr) -> bool:
    try:
        read_annotation("", ast.unparse(annotation))
    except (TypeError, ValueError):
        return False
    return True


def _summary(doc: str | None) -> str:
    return (doc or "").strip().split("\n\n")[0].replace("\n", " ").strip()
