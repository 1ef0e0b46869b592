"""`consort init`: a task and a plan to begin with, made from the models at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli.options import Debug, Force, Json, RemoteCode, named_path
from consort.cli.output import note, print_json, result
from consort.core.errors import OutputExists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consort.runs.pool import Member

ROWS = {
    "dev": ["What is 2 + 2?", "What is 3 + 5?", "What is 7 - 4?", "What is 9 - 6?"],
    "test": ["What is 4 + 4?", "What is 8 - 1?"],
}
TARGETS = {"dev": ["4", "8", "3", "3"], "test": ["8", "7"]}
TASK = """\
# What the models are to do. Put your own examples into dev.jsonl (searched and tuned on; fifty or more are good) and
# test.jsonl (read once, for the report). A line is {"prompt": …, "target": …}, or "messages" in place of "prompt", or
# "choices" with "answer". CSV and Parquet files do as well.
dev: dev.jsonl
test: test.jsonl
metric: exact_match   # others: consort methods --kind metric
max_tokens: 64
"""


def init(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Folders, adapters, lab:NAME, hf:ORG/NAME.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", parser=named_path("--out"), help="Where the files go.")
    ] = Path("."),
    base: Annotated[str | None, typer.Option("--base", help="The input that the others were tuned from.")] = None,
    force: Force = False,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write task.yml with examples to replace and plan.yml that combines your models; prints what to run next."""
    from consort.plan.expression import parse
    from consort.plan.places import check_places

    check_places(map(parse, models))
    files = {name: out / name for name in ("task.yml", "dev.jsonl", "test.jsonl", "plan.yml")}
    present = [str(path) for path in files.values() if path.exists()]
    if present and not force:
        raise OutputExists("exists", field=", ".join(present), hint="choose another --out, or pass --force")
    from consort.plan.build import Builder
    from consort.runs.pool import open_members

    members = open_members(models, Builder(0, allow_remote_code), base)
    document, why = skeleton(members, base)
    parse(document)
    _write(files, document, why)
    commands = [
        f"consort eval {' '.join(models)} {files['plan.yml']} --task {files['task.yml']}",
        f"consort auto {' '.join(models)} --task {files['task.yml']} --out {out / 'run'}",
    ]
    if json:
        print_json({"files": {name: str(path) for name, path in files.items()}, "plan": document, "next": commands})
        return
    note(f"plan.yml: {why}")
    for command in commands:
        result(command)


def skeleton(members: Sequence[Member], base: str | None) -> tuple[dict[str, Any], str]:
    """A plan of all members, and why it is this one: a merge of one family, votes of several."""
    from consort.plan.references import absolute
    from consort.runs.pool import families

    names = {member.reference: member.label for member in members}
    models = {label: absolute(reference) for reference, label in names.items()}
    if len(members) == 1:
        return {"models": models, "plan": members[0].label}, "one model as it is; give several to combine them"
    groups, _ = families(members, base)
    if len(groups) == 1 and len(groups[0].members) == len(members):
        [family] = groups
        if family.base is not None and len(family.experts) > 1:
            merge = {"models": [m.label for m in family.experts], "base": family.base.label, "weight": 1.0}
            return {"models": models, "plan": {"ties": merge}}, f"a merge of what was tuned from {family.base.label}"
        merge = {"models": [m.label for m in family.members]}
        return {"models": models, "plan": {"linear": merge}}, "the mean of one family's weights"
    vote = {"models": [m.label for m in members]}
    return {"models": models, "plan": {"vote": vote}}, "models of several families can vote on an answer"


def _write(files: dict[str, Path], document: dict[str, Any], why: str) -> None:
    import json

    from consort.core.files import write_atomic
    from consort.data import dump_yaml

    for split in ("dev", "test"):
        pairs = zip(ROWS[split], TARGETS[split], strict=True)
        lines = [json.dumps({"prompt": prompt, "target": target}) + "\n" for prompt, target in pairs]
        write_atomic(files[f"{split}.jsonl"], "".join(lines))
    write_atomic(files["task.yml"], TASK)
    head = f"# {why}; other ways: consort methods, one of them: consort methods NAME\n"
    write_atomic(files["plan.yml"], head + dump_yaml(document))
