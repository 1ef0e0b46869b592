"""`consort merge`: a checkpoint-valued plan to a Hugging Face folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consort.cli.options import Debug, Force, Json, RemoteCode, named, named_path
from consort.cli.output import note, print_json, result, warnings_so_far
from consort.core.counted import counted
from consort.core.errors import BadParameter, BadPlan

if TYPE_CHECKING:
    from consort.plan import Plan
    from consort.weights.checkpoint import Checkpoint

DTYPES = ("float32", "float16", "bfloat16", "float64")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def merge(
    plan: Annotated[str, typer.Argument(metavar="PLAN", parser=named, help="A plan file, or '-' for standard input.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", parser=named_path("OUT"), help="The folder to write.")],
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the plan's seed.")] = None,
    out_dtype: Annotated[str | None, typer.Option("--out-dtype", "--dtype", help=" | ".join(DTYPES))] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Default: all cores.")] = None,
    max_memory: Annotated[str | None, typer.Option("--max-memory", help="Refuse what needs more, e.g. 8GB.")] = None,
    shard_size: Annotated[str, typer.Option("--shard-size", help="Largest file, e.g. 5GB.")] = "5GB",
    allow_nonfinite: Annotated[
        bool, typer.Option("--allow-nonfinite", help="Write NaN and infinity, report them.")
    ] = False,
    hash_content: Annotated[bool, typer.Option("--hash", help="Record SHA-256 of inputs and outputs.")] = False,
    force: Force = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, read only headers.")] = False,
    print_plan: Annotated[bool, typer.Option("--print-plan", help="Print the checked plan and stop.")] = False,
    part: Annotated[
        str | None, typer.Option("--part", metavar="I/N", help="Write only this part, beside OUT; others elsewhere.")
    ] = None,
    join: Annotated[bool, typer.Option("--join", help="Join the parts beside OUT, to the bytes of one run.")] = False,
    allow_remote_code: RemoteCode = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Merge checkpoints by a plan; killed and run again it resumes."""
    from consort.plan import build, dump, read_plan

    checked = read_plan(plan)
    if seed is not None:
        checked = replace(checked, seed=seed)
    if checked.root.produces != "checkpoint":
        hint = "`consort generate`, `score` and `eval` run it; it has no weights to write"
        raise BadPlan("this plan is a model made at run time, not a checkpoint", field="plan", hint=hint)
    if print_plan:
        _print_plan(dump(checked), json)
        return
    shard_bytes, dtype = size_of(shard_size, "--shard-size"), _dtype(out_dtype)
    merged = build(checked, "checkpoint", allow_remote_code=allow_remote_code)
    _check_out(out, merged, force)
    if max_memory is not None:
        _check_memory(merged, size_of(max_memory, "--max-memory"), threads)
    if dry_run:
        _print_estimate(merged, dtype, threads, json)
        return
    settings = {"out_dtype": dtype, "shard_bytes": shard_bytes, "threads": threads, "force": force}
    settings |= {"allow_nonfinite": allow_nonfinite, "hash_content": hash_content}
    _write(checked, merged, out, part, join, settings, json)


def _write(
    checked: Plan, merged: Checkpoint, out: Path, part: str | None, join: bool, settings: dict[str, Any], json: bool
) -> None:
    """Write the merge, or a part of it, and say what was written."""
    from consort.plan import dump
    from consort.weights import write

    extra = _mergekit_config(checked.mergekit)
    if part is not None or join:
        merged, out = _of_parts(merged, out, part, join, dump(checked), checked.seed)
        extra = extra if join else {}
    written = write(merged, out, plan=dump(checked), seed=checked.seed, extra=extra, **settings)
    if json:
        made = {"path": str(written.path), "tensors": written.tensors, "bytes": written.bytes, "seed": checked.seed}
        print_json(made | {"warnings": warnings_so_far()})
    else:
        tensors = counted(written.tensors, "tensor")
        note(f"{tensors}, {written.bytes / 1e6:.1f} MB, {written.seconds:.1f} s, seed {checked.seed}")
        result(written.path)


def _of_parts(
    merged: Checkpoint, out: Path, part: str | None, join: bool, plan: Any, seed: int
) -> tuple[Checkpoint, Path]:
    """One part and its folder, or all parts joined and the folder of the whole."""
    from consort.weights.disk.parts import Joined, PartOf, part_folder, parts_beside, read_part, work_of

    if part is not None and join:
        raise BadParameter("cannot be both", field="--part, --join", hint="write all parts, then join them")
    if part is not None:
        number, count = read_part(part)
        return PartOf(merged, number, count, work_of(merged, plan, seed)), part_folder(out, number, count)
    return Joined(merged, parts_beside(out), work_of(merged, plan, seed)), out


def _check_out(out: Path, merged: Checkpoint, force: bool) -> None:
    """Refuse what writing would refuse, before anything is made."""
    from consort.core.files import check_place
    from consort.weights.checkpoint import leaves
    from consort.weights.disk.card import OnDisk
    from consort.weights.disk.whole_folder import check_target

    check_place(out)
    check_target(out, [leaf.path for leaf in leaves(merged) if isinstance(leaf, OnDisk)], force=force)


def _mergekit_config(documents: Sequence[Any]) -> dict[str, bytes]:
    """The mergekit file that the plan was translated from, under the name that mergekit gives it; without paths."""
    if not documents:
        return {}
    import yaml

    from consort.weights.disk.card import without_paths

    text = yaml.safe_dump_all(map(without_paths, documents), sort_keys=False, allow_unicode=True)
    return {"mergekit_config.yml": text.encode()}


def size_of(text: str, option: str) -> int:
    """Bytes of "5GB", "500MB" or "1000000". Raises BadParameter that names the option."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
    if size <= 0:
        raise BadParameter(f"{text!r} is not a size", field=option, hint="e.g. 5GB or 500MB")
    return size


def _dtype(name: str | None) -> Any:
    if name is None:
        return None
    if name not in DTYPES:
        raise BadParameter(f"{name!r} is not a dtype", field="--out-dtype", hint=" | ".join(DTYPES))
    import torch

    return getattr(torch, name)


def _check_memory(merged: Checkpoint, max_bytes: int, threads: int | None) -> None:
    from consort.merge.engine.estimate import check_memory

    check_memory(merged, max_bytes, threads)


def _print_estimate(merged: Checkpoint, dtype: Any, threads: int | None, json: bool) -> None:
    from consort.merge.engine.estimate import estimate

    found = estimate(merged, dtype, threads)
    if json:
        print_json(found | {"warnings": warnings_so_far()})
        return
    tensors = counted(found["tensors"], "tensor")
    print(f"{tensors}, {found['parameters']:,} parameters, {found['bytes'] / 1e6:.1f} MB to write")
    print(f"about {found['memory_bytes'] / 1e6:.0f} MB of memory and {found['seconds']} s (rough)")


def _print_plan(document: Any, json: bool) -> None:
    if json:
        print_json(document)
        return
    from consort.data import dump_yaml

    result(dump_yaml(document), end="")
