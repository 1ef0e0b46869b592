"""One way to name a thing: a decorated definition in a module of a package, or of a plug-in.

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
from pathlib import Path
from typing import Any, Generic, TypeVar

from consort.core.binding import bound
from consort.core.errors import BadParameter, UnknownName, Unsupported, did_you_mean, shortened
from consort.core.kinds import Kind
from consort.core.params import Param, name_of, params_in, params_of, read_annotation
from consort.core.plugins import plugins, warn_of

T = TypeVar("T")
D = TypeVar("D", bound=Callable[..., Any])

FOR_LAWS = frozenset({"example", "examples", "exempt", "cases", "ends", "vocabularies"})
"""What a decorator says for the laws alone (`consort.testing`); no engine is told of it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a registered name without importing it. `options` are the decorator's keyword arguments.

    `home` is the distribution of a plug-in, "" for what comes with consort.
    """

    kind: str
    name: str
    module: str
    summary: str
    params: tuple[Param, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    home: str = ""

    @property
    def paper(self) -> str:
        """The arXiv id or name of its paper, "" for none."""
        return str(self.options.get("paper", ""))

    @property
    def place(self) -> str:
        """Where it is defined, for messages."""
        return f"{self.module} of {self.home}" if self.home else self.module


class Registry(Kind, Generic[T]):
    """Names to objects of one kind.

    `package` is scanned, sub-folders too, for top-level definitions decorated with `decorator`; so are the modules that
    entry points of the group `consort.KIND` name. `produces` is the type of what a name makes, as signatures ask for it
    and in lower case: "checkpoint", "model", "drafter", ...; `inputs` are arguments that the kind itself adds to each
    name; `formerly` is what the kind was called in older plans; `reference` is the name that a plain string, which is
    no name of this kind, is the first argument of.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        *,
        decorator: str,
        produces: str = "",
        inputs: tuple[Param, ...] = (),
        formerly: str = "",
        reference: str = "",
    ) -> None:
        self.kind, self.package, self.decorator, self.produces, self.inputs = kind, package, decorator, produces, inputs
        self.formerly, self.reference = formerly, reference
        self._items: dict[str, T] = {}
        self._entries: dict[str, Entry] = {}
        self._scanned = False

    @property
    def group(self) -> str:
        """The entry-point group of plug-ins: it does not change when files move."""
        return f"consort.{self.kind}"

    def add(self, definition: Callable[..., Any], item: T, **options: Any) -> None:
        """Register a live definition (what a decorator does). A second definition of one name is a BadParameter."""
        name = name_of(definition.__name__)
        is_class = inspect.isclass(definition)
        params = params_of(definition.__init__ if is_class else definition, positional=is_class)
        entry = Entry(self.kind, name, definition.__module__, _summary(definition.__doc__), params, options)
        known = self._entries.get(name)
        if known and (name in self._items or known.module != entry.module):
            raise _taken(self.kind, known, entry)
        self._items[name] = item
        self._entries.setdefault(name, entry)

    def registrar(self, wrap: Callable[..., T] | None = None) -> Callable[..., Callable[[D], D]]:
        """The decorator of this registry: `@strategy(paper="…")` adds the definition and returns it.

        Whatever it makes is bound to its signature: a value outside a declared range or choice is a BadParameter in
        Python as in a plan (see `core.binding`). `wrap(definition, **options)` makes the registered item of a function
        that an engine binds; the definition is then left as it is.
        """

        def decorator(**options: Any) -> Callable[[D], D]:
            def register(definition: D) -> D:
                if wrap:
                    told = {key: value for key, value in options.items() if key not in FOR_LAWS}
                    self.add(definition, wrap(definition, **told), **options)
                    return definition
                checked = bound(definition, name_of(definition.__name__))
                item: Any = checked
                self.add(checked, item, **options)
                return checked

            return register

        return decorator

    def get(self, name: str) -> T:
        """The object; its module is imported now.

        Raises UnknownName with a did-you-mean, and Unsupported for a plug-in that cannot be imported.
        """
        entry = self.entry(name)
        if name not in self._items:
            try:
                importlib.import_module(entry.module)
            except Exception as error:
                if not entry.home:
                    raise
                message = f"the plug-in {entry.home} cannot be imported: {type(error).__name__}: {error}"
                raise Unsupported(message, field=name, hint=f"repair or uninstall {entry.home}") from error
        if name not in self._items:
            message = f"{entry.place} makes it no {self.kind}: its decorator is that of another kind"
            raise Unsupported(
                message, field=name, hint=f"its entry point belongs to the group of that kind, not {self.group}"
            )
        return self._items[name]

    def entry(self, name: str) -> Entry:
        """What is known of `name` without importing it. Raises UnknownName."""
        entries = self.entries()
        if name not in entries:
            raise UnknownName(f"no {self.kind} named {shortened(name)!r}", field=name, hint=did_you_mean(name, entries))
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

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}, {self.package!r})"

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True
        spec = importlib.util.find_spec(self.package)
        for folder in (spec and spec.submodule_search_locations) or []:
            for file in sorted(Path(folder).rglob("*.py")):
                module = ".".join((self.package, *file.relative_to(folder).with_suffix("").parts))
                for entry in self._read(file, module):
                    self._entries.setdefault(entry.name, entry)
        for plugin in plugins(self.group):
            try:
                found = self._read(plugin.file, plugin.module, plugin.home)
            except (BadParameter, OSError, ValueError) as error:
                warn_of(plugin, str(error))
                continue
            for entry in found:
                known = self._entries.get(entry.name)
                if known and known.module != entry.module:
                    raise _taken(self.kind, known, entry)
                self._entries[entry.name] = entry

    def _read(self, file: Path, module: str, home: str = "") -> list[Entry]:
        found = []
        for node in _decorated(file.read_text("utf-8"), self.decorator):
            options = _decoration(node, self.decorator)
            if options is not None:
                summary, params = _summary(ast.get_docstring(node)), _params(node, file)
                found.append(Entry(self.kind, name_of(node.name), module, summary, params, options, home))
        return found


def _decorated(text: str, decorator: str) -> list[ast.FunctionDef | ast.ClassDef]:
    """The top-level definitions that have a decorator; nothing else of the file is parsed, which takes far longer.

    A definition ends where the next line begins at the margin, a class after its constructor. Where one makes no sense
    so (a text in it has such a line) the whole file is parsed.
    """
    found: list[ast.stmt] = []
    try:
        for mark in re.finditer(rf"^@[\w.]*\b{decorator}\(", text, re.MULTILINE):
            above = text.count("\n", 0, mark.start())
            found += ast.parse("\n" * above + text[mark.start() : _end_of_signature(text, mark.start())]).body
    except SyntaxError:
        found = ast.parse(text).body
    return [node for node in found if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def _end_of_signature(text: str, start: int) -> int:
    """Where a decorated definition, or the constructor of a class, ends."""
    head = _HEAD.search(text, start)
    end = head and _AT_MARGIN.search(text, head.end())
    last = end.start() if end else len(text)
    made_by = _CONSTRUCTOR.search(text, start, last) if head and head[1] == "class" else None
    after = made_by and _MEMBER.search(text, made_by.end(), last)
    return after.start() if after else last


_HEAD = re.compile(r"^(class|def) ", re.MULTILINE)
_AT_MARGIN = re.compile(r"^[^\s)\]}#]", re.MULTILINE)
"""A line that is no part of the definition above it; a comment or what closes a bracket may be."""
_CONSTRUCTOR = re.compile(r"^    def __init__\(", re.MULTILINE)
_MEMBER = re.compile(r"^    [^\s)\]}#]", re.MULTILINE)


def _taken(kind: str, one: Entry, other: Entry) -> BadParameter:
    message = f"{kind} {one.name!r} is registered twice: by {one.place} and by {other.place}"
    homes = [entry.home for entry in (other, one) if entry.home]
    return BadParameter(message, field=one.name, hint=f"uninstall {homes[0]}" if homes else "give one another name")


def _decoration(node: ast.FunctionDef | ast.ClassDef, decorator: str) -> dict[str, Any] | None:
    for d in node.decorator_list:
        if isinstance(d, ast.Call) and getattr(d.func, "id", getattr(d.func, "attr", "")) == decorator:
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
