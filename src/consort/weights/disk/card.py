"""What an output tells of its making: merge_manifest.json for programs, README.md for people. No paths, no hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from os.path import isfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import yaml

from consort.core.errors import ConsortError
from consort.core.journal import provenance
from consort.core.visible import visible
from consort.weights.adapters.files import is_adapter_config
from consort.weights.checkpoint import Checkpoint, leaves
from consort.weights.disk.paths import inside, read_json, read_text
from consort.weights.stats import is_statistics

MANIFEST = "merge_manifest.json"
CARD = "README.md"
SCHEMA_VERSION = 1
MAX_CARD_BYTES = 1_000_000


@runtime_checkable
class Described(Protocol):
    """A checkpoint that can say what identifies it."""

    def describe(self, *, content: bool = False) -> dict[str, Any]:
        """What it is, as plain values."""


@runtime_checkable
class OnDisk(Protocol):
    """A checkpoint that lies in a folder; `stamp` changes whenever its files do."""

    path: Path

    def stamp(self) -> list[Any]: ...


def describe(ckpt: Checkpoint, *, content: bool = False) -> dict[str, Any]:
    """A manifest's entry for one input: name, bytes, dtypes, and hashes where it lies on disk."""
    if isinstance(ckpt, Described):
        return ckpt.describe(content=content)
    names = ckpt.keys()
    specs = [ckpt.spec(name) for name in names]
    dtypes = sorted({str(spec.dtype).removeprefix("torch.") for spec in specs})
    return {"name": ckpt.name, "bytes": sum(s.nbytes for s in specs), "tensors": len(specs), "dtype": dtypes}


def manifest(
    ckpt: Checkpoint, *, plan: Any, seed: int, options: Mapping[str, Any], content: bool = False
) -> dict[str, Any]:
    """What the output depends on; `options` are those that are not the default."""
    inputs = [describe(leaf, content=content) for leaf in leaves(ckpt)]
    return {
        "schema_version": SCHEMA_VERSION,
        **provenance(plan=without_paths(plan), inputs=inputs, seed=seed),
        "options": without_paths(dict(options)),
    }


def card(ckpt: Checkpoint, made: Mapping[str, Any], title: str) -> str:
    """README.md of an output whose manifest is `made`."""
    sources = leaves(ckpt)
    models = [not is_statistics(source) for source in sources]
    names = list(
        dict.fromkeys(_one_line(e["name"]) for e, is_model in zip(made["inputs"], models, strict=True) if is_model)
    )
    front: dict[str, Any] = {"base_model": names, "library_name": "transformers", "tags": ["merge", "consort"]}
    if is_adapter_config(ckpt.config):
        base = ckpt.config.get("base_model_name_or_path")
        front |= {"base_model": [base] if base else [], "library_name": "peft", "tags": ["merge", "consort", "peft"]}
    license_ = common_license([source for source, is_model in zip(sources, models, strict=True) if is_model])
    front |= {"license": license_} if license_ else {}
    head = yaml.safe_dump(front, sort_keys=True, allow_unicode=True, width=1 << 20).strip()
    lines = ["---", head, "---", "", f"# {_plain(title)}"]
    lines += ["", "Made with consort from these models:", "", "| model | revision | tensors | bytes | dtype |"]
    lines += ["|---|---|---|---|---|", *(_row(entry) for entry in made["inputs"])]
    if made["plan"] is not None:
        plan = made["plan"] if isinstance(made["plan"], str) else yaml.safe_dump(made["plan"], sort_keys=False)
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", plan)), default=0))
        lines += ["", "## Plan", "", f"{fence}yaml", plan.rstrip("\n"), fence]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version)
    lines += ["", f"Seed {made['seed']}. {versions}. Hashes of all inputs: `{MANIFEST}`.", ""]
    return "\n".join(lines)


def common_license(sources: Sequence[Checkpoint]) -> str | None:
    """The licence that the cards of all sources name; None unless all agree."""
    found = [front_matter(source.path).get("license") if isinstance(source, OnDisk) else None for source in sources]
    agreed = bool(found) and all(license_ == found[0] for license_ in found)
    return found[0] if agreed and isinstance(found[0], str) else None


def front_matter(folder: Path) -> dict[str, Any]:
    """The YAML head of a folder's README.md; empty if there is none that can be read."""
    try:
        path = inside(folder, CARD, source=CARD)
        text = read_text(path, MAX_CARD_BYTES) if isfile(path) else ""
        match = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
        values = yaml.load(match[1], getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if match else None
    except (ConsortError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def declared_base(folder: str | Path) -> list[str]:
    """The models that a folder says it was made from: its adapter configuration, its card, its merge manifest.

    Names as they are written there, each once; nothing is looked up.
    """
    folder = Path(folder)
    named: list[Any] = [_optional_json(folder, "adapter_config.json").get("base_model_name_or_path")]
    base = front_matter(folder).get("base_model")
    named += base if isinstance(base, list) else [base]
    inputs = _optional_json(folder, MANIFEST).get("inputs")
    named += [entry.get("name") for entry in inputs if isinstance(entry, dict)] if isinstance(inputs, list) else []
    return list(dict.fromkeys(name for name in named if isinstance(name, str) and name))


def without_paths(value: Any) -> Any:
    """`value` as JSON can say it, every absolute path in it cut to its last part."""
    if isinstance(value, Mapping):
        return {without_paths(str(key)): without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    return _DIRECTORIES.sub("", str(value))


_DIRECTORIES = re.compile(r"(?<![\w.~/\\-])(?:~|[A-Za-z]:)?[/\\](?:[^/\\+@\n]+[/\\])+")


def _optional_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        path = inside(folder, name, source=name)
        return read_json(path) if isfile(path) else {}
    except ConsortError:
        return {}


def _row(entry: Mapping[str, Any]) -> str:
    cells: Iterable[Any] = (entry["name"], entry.get("revision", ""), entry["tensors"], entry["bytes"])
    return "| " + " | ".join(_plain(cell) for cell in (*cells, ", ".join(entry["dtype"]))) + " |"


def _plain(value: Any) -> str:
    """Text that no Markdown or HTML hides in."""
    return re.sub(r"([\\|`*\[\]<>#])", r"\\\1", _one_line(value))


def _one_line(value: Any) -> str:
    return visible(re.sub(r"\s+", " ", str(value)))
