"""Plans of another kind than a model: a detector, a compressor, ..., from a file or from what stands on the line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consort.core.catalogue import EXPRESSED
from consort.core.errors import BadPlan
from consort.core.files import read_stdin
from consort.data.yaml import load_documents
from consort.plan.build import Builder
from consort.plan.expression import PLAN_KEYS, Call, Plan, beside, parse_kind


def read_kind(source: str | Path, kind: str) -> Plan:
    """An expression of `kind` from a YAML file, standard input ("-"), or a name or YAML expression itself.

    A file may have `models:` and `seed:` beside `plan:`, as the plan of a model has. Raises BadPlan, BadParameter,
    UnknownName.
    """
    text = str(source)
    if not text.strip():
        raise BadPlan(
            f"there is no {kind}", field="plan", hint=f"a name (consort methods --kind {kind}) or a plan file"
        )
    if text == "-":
        return _read(load_documents(read_stdin("plan", BadPlan)), kind)
    if text.endswith((".yml", ".yaml")) or Path(text).is_file():
        return beside(Path(text).absolute().parent, _read(load_documents(Path(text)), kind))
    return _read(load_documents(text), kind)


def build_kind(source: str | Path, kind: str, *, allow_remote_code: bool = False) -> Any:
    """What such a plan describes."""
    plan = read_kind(source, kind)
    return Builder(plan.seed, allow_remote_code).build(plan.root, kind)


def is_of_kind(source: str | Path, kind: str) -> bool:
    """Whether a plan file's expression is a name of this kind; False for what is no plan file.

    A name that a model or a checkpoint has too means that one, unless it is written `kind.name`.
    """
    text = str(source)
    if text == "-" or not (text.endswith((".yml", ".yaml")) and Path(text).is_file()):
        return False
    from consort.core.kinds import makers_of

    documents = load_documents(Path(text))
    value = documents[0] if len(documents) == 1 else None
    value = value.get("plan", value) if isinstance(value, Mapping) else value
    name = next(iter(value), None) if isinstance(value, Mapping) and len(value) == 1 else value
    if not isinstance(name, str) or any(name in one for made in EXPRESSED for one in makers_of(made)):
        return False
    return any(name.removeprefix(f"{kind}.") in one for one in makers_of(kind))


def _read(documents: list[Any], kind: str) -> Plan:
    if len(documents) != 1 or documents[0] is None:
        raise BadPlan("one expression is wanted", field="plan", hint=f"see `consort methods --kind {kind}`")
    document = documents[0]
    if isinstance(document, Mapping) and set(document) & set(PLAN_KEYS):
        models, seed = document.get("models") or {}, document.get("seed", 0)
        if "plan" not in document or not isinstance(models, Mapping) or type(seed) is not int or seed < 0:
            raise BadPlan("is no plan", field="plan", hint="models: {name: reference}, seed: 0, plan: EXPRESSION")
        return Plan(parse_kind(document["plan"], kind, models, "plan"), seed)
    call: Call = parse_kind(document, kind, {}, "plan")
    return Plan(call)
