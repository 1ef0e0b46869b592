"""`consort fuse`: many teachers of any shape and tokenizer into one student of the pivot's, by a fusion plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli.options import Debug, Force, Json, RemoteCode, named, named_path
from consort.cli.output import note, print_json, print_table
from consort.core.counted import counted

if TYPE_CHECKING:
    from consort.recipes.fusechat.run import Fused


def fuse(
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", parser=named, help="A fusion plan, or '-' for standard input.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", parser=named_path("OUT"), help="The run folder.")],
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the plan's seed.")] = None,
    force: Force = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, count, train nothing.")] = False,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fuse models by a plan: collect, align, train, merge, evaluate; killed and run again it resumes."""
    from consort.plan.fuse.plan import read_fuse

    checked = read_fuse(plan)
    if seed is not None:
        checked = replace(checked, settings=replace(checked.settings, seed=seed))
    from consort.recipes.fusechat.run import fuse as run  # torch only for a plan that is sound
    from consort.recipes.fusechat.run import opened

    if dry_run:
        _print_description(opened(checked, out, allow_remote_code=allow_remote_code).describe(), json)
        return
    fused = run(checked, out, force=force, allow_remote_code=allow_remote_code)
    if json:
        print_json(_told(fused))
        return
    _print(fused)


def _told(fused: Fused) -> dict[str, Any]:
    return {
        "path": str(fused.folder / "model"),
        "students": {name: str(path) for name, path in fused.students.items()},
        "aligned": dict(fused.aligned),
        "chosen": {group: dict(counts) for group, counts in fused.chosen.items()},
        "pairs": fused.pairs,
        "comparison": None if fused.comparison is None else fused.comparison.to_json(),
    }


def _print(fused: Fused) -> None:
    if fused.comparison is not None:
        from consort.evaluate import comparison_table

        columns, rows = comparison_table(fused.comparison)
        print_table(columns, rows)
    note(fused.headline)
    print(fused.folder / "model")


def _print_description(found: dict[str, Any], json: bool) -> None:
    if json:
        print_json(found)
        return
    if "prompts" in found:
        print(f"{counted(found['prompts'], 'prompt')}; {counted(found['answers'], 'answer')} to draw and to judge")
        print(f"at most {counted(found['steps'], 'step')} on the best, then {found['preference_steps']} on pairs")
        return
    positions = ", ".join(f"{name} {count:,}" for name, count in found["positions"].items())
    print(f"{counted(found['documents'], 'document')}; positions: {positions}")
    trained = f"{counted(found['trainings'], 'training')} of {counted(found['steps'], 'step')}"
    print(f"{found['store_bytes'] / 1e6:.1f} MB of rows; {trained}")
