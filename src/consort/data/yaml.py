"""The one reader of YAML: plain values only, refused with line and column where it is not what it seems.

Differs from PyYAML's SafeLoader: tags and duplicate keys are errors, dates stay strings, `1e-3` is a number (YAML 1.2),
and a file that aliases blow up to more than a million values is refused before it is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from consort.core.errors import BadPlan, ConsortError
from consort.core.files import machine_errors

MAX_BYTES = 1_000_000
MAX_VALUES = 1_000_000
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,300})$|0x[0-9a-fA-F]{1,64}$")
FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?$|[-+]?[0-9]+[eE][-+]?[0-9]+$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
OWN_TAGS = {"tag:yaml.org,2002:" + kind for kind in ("timestamp", "int", "float", "value")}


class _Refused(Exception):
    """`hint` is what would be right, `mark` where it stands."""

    def __init__(self, message: str, hint: str, mark: yaml.Mark | None) -> None:
        super().__init__(message)
        self.hint, self.mark = hint, mark


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses explicit tags; duplicate keys and blow-ups are found on the composed tree."""

    def get_event(self) -> Any:
        event: Any = super().get_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) not in (None, "!"):
            raise _Refused(f"the tag {event.tag} is not allowed", "write the value without a tag", event.start_mark)
        return event


class _Dumper(yaml.SafeDumper):
    """SafeDumper that puts in quotes what this reader would take for something else."""


for _side in (_Loader, _Dumper):
    _side.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in OWN_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _side.add_implicit_resolver("tag:yaml.org,2002:int", INTEGER, list("-+0123456789"))
    _side.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))


def dump_yaml(value: Any) -> str:
    """Plain values as YAML text that `load_yaml` reads back to equal values; keys in the given order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    if any(mark in text for mark in "\x85\u2028\u2029"):  # written as they are, they would break the line
        text = yaml.dump(value, Dumper=_Dumper, sort_keys=False)
    return text


def load_yaml(source: Path | str, *, error: type[ConsortError] = BadPlan) -> Any:
    """The plain value of a YAML file (a Path) or text (a str): mappings, lists, strings, numbers, booleans, None.

    Raises `error` with `field` "file:line:column" for a missing or oversized (1 MB) file, bad syntax, a tag, a
    duplicate key, or nesting without end.
    """
    return _load(source, error, _build)


def load_documents(source: Path | str, *, error: type[ConsortError] = BadPlan) -> list[Any]:
    """The plain values of all documents of a YAML file or text; [None] where it is empty. Raises as `load_yaml`."""
    documents: list[Any] = _load(source, error, _build_all)
    return documents


def _load(source: Path | str, error: type[ConsortError], build: Callable[[str], Any]) -> Any:
    name = str(source) if isinstance(source, Path) else "plan"
    text = _read(source, error) if isinstance(source, Path) else source
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise error(f"larger than {MAX_BYTES:,} bytes", field=name, hint="a YAML file here is a short text")
    try:
        return build(text)
    except _Refused as refused:
        raise error(str(refused), field=_place(name, refused.mark), hint=refused.hint) from None
    except yaml.reader.ReaderError as fault:
        message = f"character U+{int(fault.character):04X} is not allowed in YAML"
        raise error(message, field=name, hint="remove it or write it as an escape in quotes") from None
    except yaml.MarkedYAMLError as fault:
        message = " ".join(str(part) for part in (fault.problem, fault.context) if part)
        raise error(
            message, field=_place(name, fault.problem_mark or fault.context_mark), hint="mend the YAML"
        ) from None
    except RecursionError:
        raise error("nested too deeply", field=name, hint="a plan is a few levels deep") from None
    except (ValueError, OverflowError) as fault:
        raise error(f"a value cannot be read: {fault}", field=name, hint="put it in quotes if it is text") from None


def _read(path: Path, error: type[ConsortError]) -> str:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise error(what, field=str(path), hint="give the path of a YAML file")
    if path.stat().st_size > MAX_BYTES:
        raise error(f"larger than {MAX_BYTES:,} bytes", field=str(path), hint="a YAML file here is a short text")
    with machine_errors(path):
        content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise error("not UTF-8 text", field=f"{path}:{line}", hint="save the file as UTF-8") from None


def _build(text: str) -> Any:
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _count(root, {}, set())
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _build_all(text: str) -> list[Any]:
    loader, documents = _Loader(text), []
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None:
                break
            _count(node, {}, set())
            documents.append(loader.construct_document(node))
    finally:
        loader.dispose()
    return [d for d in documents if d is not None] or [None]


def _count(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Values in the tree with every alias written out; checks keys on the way."""
    if id(node) in above:
        raise _Refused("an alias contains itself", "write the value out", node.start_mark)
    if id(node) not in known:
        above.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            children = [value for _, value in node.value]
        else:
            children = node.value if isinstance(node, yaml.SequenceNode) else []
        known[id(node)] = 1 + sum(_count(child, known, above) for child in children)
        above.discard(id(node))
    if known[id(node)] > MAX_VALUES:
        raise _Refused(
            f"more than {MAX_VALUES:,} values once aliases are written out", "use fewer aliases", node.start_mark
        )
    return known[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _Refused("a key is not a plain value", "put the key in quotes", key.start_mark)
        if (key.tag, key.value) in seen:
            raise _Refused(f"the key {key.value!r} stands twice", "keep one of the two", key.start_mark)
        seen.add((key.tag, key.value))


def _place(name: str, mark: yaml.Mark | None) -> str:
    return name if mark is None else f"{name}:{mark.line + 1}:{mark.column + 1}"
