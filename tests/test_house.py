"""The house, measured: no import circles, short functions, public things that say what they are, examples that run."""

from __future__ import annotations

import ast
import doctest
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import consort

ROOT = Path(__file__).parents[1] / "src" / "consort"
LONGEST = 45
DOCUMENTED = 0.85
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def trees() -> Mapping[str, ast.Module]:
    """Every module of the package, by name."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = ("consort", *file.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = ast.parse(file.read_text("utf-8"))
    return found


def imported(node: ast.AST) -> Iterator[str]:
    """The modules of the package that code imports, at its top or inside functions; not those for types alone."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.If) and isinstance(inner.test, ast.Name) and inner.test.id == "TYPE_CHECKING":
            continue
        if isinstance(inner, ast.ImportFrom) and inner.module in trees():
            names = {f"{inner.module}.{alias.name}" for alias in inner.names}
            yield from (name if name in trees() else inner.module for name in names)
        if isinstance(inner, ast.Import):
            yield from (alias.name for alias in inner.names if alias.name in trees())
        yield from imported(inner)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The strongly connected parts of more than one module: what is left when ends are taken off again and again."""
    left = {name: set(to) for name, to in graph.items()}
    while True:
        sinks = {name for name, to in left.items() if not to & left.keys()}
        sources = left.keys() - {target for name, to in left.items() for target in to if target != name}
        if not sinks | sources:
            return [sorted(left)] if left else []
        left = {name: to for name, to in left.items() if name not in sinks | sources}


def test_no_file_imports_in_a_circle():
    graph = {name: set(imported(tree)) - {name} for name, tree in trees().items()}
    assert circles(graph) == []


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == [["a", "b", "c"]]


def size(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    said = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
    return node.end_lineno - node.lineno + 1 - said


@pytest.mark.xfail(reason="the 25 options of consort serve")
def test_no_function_is_long():
    functions = [
        (f"{module}.{node.name}", size(node))
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [f"{name}: {lines} lines" for name, lines in functions if lines > LONGEST] == []


def public(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Public classes and functions at the top, and public members of the classes."""
    for inner in node.body:
        if isinstance(inner, Definition) and not inner.name.startswith("_"):
            yield inner
            if isinstance(inner, ast.ClassDef):
                yield from public(inner)


def test_public_things_say_what_they_are(record_property):
    found = [ast.get_docstring(node) is not None for tree in trees().values() for node in public(tree)]
    modules = [ast.get_docstring(tree) is not None for tree in trees().values()]
    share = sum(found + modules) / len(found + modules)
    record_property("documented", f"{share:.1%}")
    print(f"public docstrings: {share:.1%}")
    assert share >= DOCUMENTED


@pytest.mark.parametrize("name", consort.__all__)
def test_every_exported_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = getattr(consort, name)
    made = getattr(made, name) if inspect.ismodule(made) else made
    [found] = doctest.DocTestFinder(recurse=False).find(made, name, extraglobs={"consort": consort, "c": consort})
    assert found.examples, f"consort.{name} has no example"
    said = []
    ended = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found, out=said.append)
    assert ended.failed == 0, "".join(said)
    assert inspect.getdoc(made)
