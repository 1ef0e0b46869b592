"""The reference of the public API, from source alone: signatures, docstrings, parameters; no method is imported."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import consort
from consort.cli.methods import describe
from consort.core.params import name_of
from consort.core.registry import Entry, Registry

Definition = ast.FunctionDef | ast.ClassDef
ROOT = Path(consort.__file__).parents[2]


def anchor(kind: str, name: str) -> str:
    """Where a method stands on its page; hosts of pages number equal headings differently, so each is named."""
    return f"{kind}-{name}"


def link(paper: str) -> str:
    return f"[{paper}](https://arxiv.org/abs/{paper})" if re.fullmatch(r"\d{4}\.\d{5}", paper) else paper


def family_page(family: str, what: str, page: str, registries: Sequence[Registry[object]], mark: str) -> str:
    """Every method of a family."""
    lines = [f"# {family}: reference", "", mark, f"{what}. How it is used: [{page.removesuffix('.md')}](../{page})."]
    for registry in registries:
        lines += ["", f"## {registry.kind}", "", f"`consort methods --kind {registry.kind}` prints these."]
        for entry in registry.entries().values():
            lines += method(entry, registry)
    return "\n".join([*lines, ""])


def method(entry: Entry, registry: Registry[object]) -> list[str]:
    """A method: what it is, its parameters, what its file says of its paper."""
    module = tree(entry.module)
    found = next(n for n in module.body if isinstance(n, Definition) and name_of(n.name) == entry.name)
    lines = ["", f'<a id="{anchor(entry.kind, entry.name)}"></a>', "", f"### {entry.name}", ""]
    lines += prose(ast.get_docstring(found) or "")
    parameters = describe(entry, registry.inputs)["parameters"]
    if parameters:
        lines += ["", "| parameter | type | default |", "|---|---|---|"]
        lines += [f"| `{p['name']}` | {p['type'].replace('|', chr(92) + '|')} | {default(p)} |" for p in parameters]
    about = prose(ast.get_docstring(module) or "")
    if about and len([n for n in module.body if isinstance(n, Definition) and is_registered(n)]) == 1:
        lines += ["", *about]
    source = f"`{entry.module.replace('.', '/')}.py`"
    return [*lines, "", f"Paper: {link(entry.paper)}. Source: {source}." if entry.paper else f"Source: {source}."]


def default(parameter: dict[str, object]) -> str:
    if parameter["required"]:
        return "required"
    value = parameter["default"]
    return "" if value is None else '`""`' if value == "" else f"`{value}`"


def is_registered(node: Definition) -> bool:
    return any(isinstance(decorator, ast.Call) for decorator in node.decorator_list)


@cache
def tree(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    return ast.parse(Path(spec.origin).read_text("utf-8"))


def python_page(mark: str) -> str:
    """What `import consort` gives."""
    lines = ["# Python reference", "", mark]
    lines += [
        "`import consort` gives these names. Every strategy that is a model or a checkpoint is there too, under its"
    ]
    lines += [
        "plan's name: `consort.cascade([...])`, `consort.speculate(...)`; a merge is `consort.merge(NAME, [...])`."
    ]
    for name in consort.__all__:
        made = getattr(consort, name)
        made = getattr(made, name) if inspect.ismodule(made) else made  # a package that is called like its function
        home = tree(made.__module__)
        node = next(n for n in home.body if isinstance(n, Definition) and n.name == made.__name__)
        head = signature(node, name).replace("'", '"')
        lines += ["", f"## {name}", "", "```py", head, "```", "", *prose(inspect.getdoc(made) or "")]
        lines += [line for member in members(node) for line in member]
        lines += ["", f"Source: `{made.__module__.replace('.', '/')}.py`."]
    return "\n".join([*lines, ""])


def signature(node: Definition, name: str) -> str:
    """The head of a function, one parameter a line where it is long; of a class its fields."""
    if isinstance(node, ast.ClassDef):
        fields = [ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign)]
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return "\n".join([f"class {name}({bases}):" if bases else f"class {name}:", *(f"    {f}" for f in fields)])
    bare = ast.FunctionDef(name, node.args, [ast.Expr(ast.Constant(...))], [], node.returns, None, lineno=1)
    text = ast.unparse(bare).partition("\n")[0].removeprefix("def ").removesuffix(":")
    text = re.sub(r"(: [^=(]*)=", r"\1 = ", text)
    if len(text) <= 100:
        return text
    opened, _, rest = text.partition("(")
    inside, _, result = rest.rpartition(")")
    return "\n".join([f"{opened}(", *(f"    {part}," for part in split_parameters(inside)), f"){result}"])


def split_parameters(text: str) -> Iterator[str]:
    """The parameters of a signature, cut at the commas that stand in no bracket."""
    depth, start = 0, 0
    for place, sign in enumerate(text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and not depth:
            yield text[start:place].strip()
            start = place + 1
    yield text[start:].strip()


def members(node: Definition) -> Iterator[list[str]]:
    """The public methods of a class that say what they are."""
    for part in node.body if isinstance(node, ast.ClassDef) else ():
        doc = ast.get_docstring(part) if isinstance(part, ast.FunctionDef) else None
        if isinstance(part, ast.FunctionDef) and doc and not part.name.startswith("_"):
            yield ["", f"- `{part.name}`: {' '.join(prose(doc.partition(chr(10) * 2)[0]))}"]


def prose(docstring: str) -> list[str]:
    """A docstring as Markdown: examples are fenced, signs that Markdown would read are kept as they are."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", docstring.strip()):
        if not paragraph.strip():
            continue
        part = paragraph.strip("\n").splitlines()
        if part[0].lstrip().startswith(">>>"):
            part = ["```pycon", *part, "```"]
        elif not part[0].startswith("    "):
            part = [escaped(line) for line in part]
        lines += ["", *part]
    return lines[1:]


def escaped(line: str) -> str:
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(p if p.startswith("`") else re.sub(r"([<*\[\]|])", r"\\\1", p) for p in parts)
