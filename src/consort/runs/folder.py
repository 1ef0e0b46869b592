"""A run's folder: what is in it, how it is opened, and what an earlier run leaves that a new one replaces."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from consort.core.files import machine_errors
from consort.core.journal import Journal, key_of
from consort.core.results import RESULTS_FILE
from consort.data import dump_yaml
from consort.models.placement import current
from consort.plan.expression import Plan, dump, parse, renamed
from consort.plan.references import absolute
from consort.weights.checkpoint import Checkpoint, leaves
from consort.weights.disk.card import OnDisk
from consort.weights.disk.whole_folder import check_target

MODEL_FOLDER = "model"
PLAN_FILE = "plan.yml"
REPORT_FILE = "report.html"
PLANS = "plans"
"""The folder of the plans of what a run's front has."""
STATES = "states"
"""The folder of what a winner learned."""
ZOO_FOLDER = "zoo"
"""The folder of comparisons of weights."""


def open_run(
    out: Path,
    asked: Mapping[str, Any],
    checkpoints: Iterable[Checkpoint],
    *,
    force: bool,
    sound: Callable[[Mapping[str, Any]], bool],
    about: Mapping[str, Any] | None = None,
) -> tuple[Journal, list[dict[str, Any]]]:
    """The journal of the run that `asked` describes, created or continued, and its records.

    `about` is what its first line says of it to people and to `consort status` (verb, task, models, ...). Raises
    OutputExists for a folder of something else, or one that overlaps an input's.
    """
    check_target(out, [leaf.path for c in checkpoints for leaf in leaves(c) if isinstance(leaf, OnDisk)], force=True)
    held = current().to_json()  # models held otherwise answer otherwise
    key = key_of({**asked, "held": held} if held else asked)
    journal = Journal(out, key, force=force, sound=sound, about=about)
    records = journal.open()
    if not records:
        clear(journal.folder)
    return journal, records


def clear(folder: Path) -> None:
    """Remove what an earlier run, which `force` replaces, ended with."""
    with machine_errors(folder):
        for name in (RESULTS_FILE, PLAN_FILE, REPORT_FILE):
            (folder / name).unlink(missing_ok=True)
        states = folder / STATES
        for made in [*states.glob("*.json"), *states.glob("*.safetensors"), *(folder / PLANS).glob("*.yml")]:
            made.unlink()
        model = folder / MODEL_FOLDER
        if model.is_dir() and not model.is_symlink():
            shutil.rmtree(model)
        else:
            model.unlink(missing_ok=True)


def plan_text(plan: Any, seed: int) -> str:
    """A plan file that makes a system again, wherever the file is moved: folders are named by their whole paths.

    `plan` is an expression or a plan.
    """
    parsed = plan if isinstance(plan, Plan) else parse(plan)
    return dump_yaml({"seed": seed, "plan": dump(renamed(parsed, absolute))})
