"""Knowledge fusion as FuseChat does it (2408.07990, 2503.04222): stage by stage from one plan, resumed where it was.

The run folder holds what each stage made under a name that tells all it depends on, so a killed run goes on where it
was, and one more source in the plan costs its own rows, its own pair, and a merge.

    OUT/rows/NAME-KEY     a model's rows on the corpus          OUT/students/NAME-KEY   the pivot taught by a source
    OUT/pairs/NAME-KEY    a source's alignment with the pivot   OUT/model               the result

The stages are in `fusechat_rows` (pairwise, together), `fusechat_preference` and `fusechat_result`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import consort
from consort.core.files import check_place, write_atomic, write_json
from consort.core.journal import provenance
from consort.data import dump_yaml
from consort.distil.store import clear_torn
from consort.evaluate import Comparison
from consort.plan.fuse.plan import FusePlan, parse_fuse, read_fuse
from consort.recipes.fusechat.preference import learn
from consort.recipes.fusechat.result import FUSED, MODEL, is_record, measured, merged
from consort.recipes.fusechat.rows import CONTROL, align_all, chosen, collect_rows, share, students_of
from consort.recipes.fusechat.setup import PLAN, Run, nothing_left
from consort.runs.folder import open_run
from consort.weights import describe

RESULTS = "results.json"


@dataclass(frozen=True, slots=True)
class Fused:
    """What a fusion gave.

    `chosen` counts, for each group of documents, the units that each candidate won; by preference, the best answers
    of each source, and `pairs` how many pairs of answers were learnt from.
    """

    folder: Path
    students: Mapping[str, Path]
    control: Path | None
    chosen: Mapping[str, Mapping[str, int]]
    aligned: Mapping[str, float]
    comparison: Comparison | None
    pairs: int | None = None

    @property
    def headline(self) -> str:
        """One sentence: the result against the pivot."""
        if self.comparison is None:
            return "fused; no task was given, so nothing was measured"
        one = next(s for s in self.comparison.systems if s.result.model == FUSED)
        if one.difference is None:
            return "fused"
        low, high = one.difference.interval
        difference = f"{one.difference.value:+.3f} [{low:.3f}, {high:.3f}]"
        return f"the fused model differs from {self.comparison.reference} by {difference} on test"


@dataclass(frozen=True, slots=True)
class _Taught:
    """The students, and how they were made."""

    students: Mapping[str, Path]
    chosen: Mapping[str, Mapping[str, int]]
    aligned: Mapping[str, float] = field(default_factory=dict)
    pairs: int | None = None


def fuse(
    plan: FusePlan | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    force: bool = False,
    allow_remote_code: bool = False,
) -> Fused:
    """Run a fusion plan into the folder `out`; what an earlier run of this pivot left there is used again.

    Raises ConsortError, before any work, for inputs that cannot be used; then no new folder is left.
    """
    run = opened(plan, out, allow_remote_code=allow_remote_code)
    inputs = [model.checkpoint for model in run.models]
    with nothing_left(run.out):
        journal, done = open_run(run.out, {"fuse": run.pivot.stamp}, inputs, force=force, sound=is_record)
        clear_torn(run.out, PLAN, RESULTS)
        write_atomic(run.out / PLAN, dump_yaml(run.plan.to_json()))
        taught = _taught(run)
    model = merged(run, taught.students, done, journal)
    comparison = measured(run, model, taught.students, done, journal)
    students = {name: path for name, path in taught.students.items() if name != CONTROL}
    control = taught.students.get(CONTROL)
    fused = Fused(run.out, students, control, taught.chosen, taught.aligned, comparison, taught.pairs)
    write_json(run.out / RESULTS, document(run, fused))
    return fused


def _taught(run: Run) -> _Taught:
    """All stages up to the students, in the plan's mode."""
    if run.judge is not None:
        learnt = learn(run, run.judge)
        return _Taught(learnt.students, learnt.chosen, pairs=learnt.pairs)
    rows = collect_rows(run)
    pairs = align_all(run)
    aligned = {name: share(run, pair) for name, pair in pairs.items()}
    return _Taught(students_of(run, rows, pairs), chosen(run, rows, pairs), aligned)


def opened(plan: FusePlan | Mapping[str, Any] | str | Path, out: str | Path, *, allow_remote_code: bool = False) -> Run:
    """The checked run of a plan, nothing done yet."""
    check_place(out)
    if isinstance(plan, str | Path):
        plan = read_fuse(plan)
    elif not isinstance(plan, FusePlan):
        plan = parse_fuse(plan)
    return Run(plan, Path(out), allow_remote_code=allow_remote_code)


def document(run: Run, fused: Fused) -> dict[str, Any]:
    """The content of results.json."""
    inputs = [describe(model.checkpoint) for model in run.models]
    return {
        "consort": consort.__version__,
        "plan": run.plan.to_json(),
        "model": MODEL,
        "students": {name: str(path.relative_to(run.out)) for name, path in fused.students.items()},
        "aligned": dict(fused.aligned),
        "chosen": {group: dict(counts) for group, counts in fused.chosen.items()},
        "pairs": fused.pairs,
        "comparison": None if fused.comparison is None else fused.comparison.to_json(),
        "provenance": provenance(plan=run.plan.to_json(), inputs=inputs, seed=run.plan.settings.seed),
    }
