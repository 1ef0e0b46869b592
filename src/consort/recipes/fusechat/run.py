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

from consort.core.files import check_place, write_atomic
from consort.core.journal import provenance
from consort.core.progress import watched
from consort.core.results import write_results
from consort.data import dump_yaml
from consort.evaluate import Comparison
from consort.plan.fuse.plan import FusePlan, parse_fuse, read_fuse
from consort.recipes.fusechat.preference import learn
from consort.recipes.fusechat.result import FUSED, MODEL, is_record, measured, merged
from consort.recipes.fusechat.rows import CONTROL, align_all, chosen, collect_rows, share, students_of
from consort.recipes.fusechat.setup import PLAN, Run, nothing_left
from consort.report import write_report
from consort.runs.folder import REPORT_FILE, open_run
from consort.runs.results import told_examples, told_task
from consort.weights import describe
from consort.weights.content import content_hash


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
        about = {"verb": "fuse", "pivot": run.pivot.name, "seed": run.plan.settings.seed}
        about |= {} if run.task is None else {"task": told_task(run.task)}
        place = {"fuse": run.pivot.stamp}
        journal, done = open_run(run.out, place, inputs, force=force, sound=is_record, about=about)
        write_atomic(run.out / PLAN, dump_yaml(run.plan.to_json()))
        with watched(run.out, "fuse") as watch:
            watch.phase("teaching students")
            taught = _taught(run)
            watch.phase("merging students")
            model = merged(run, taught.students, done, journal)
            watch.phase("measuring on test")
            comparison = measured(run, model, taught.students, done, journal)
    students = {name: path for name, path in taught.students.items() if name != CONTROL}
    control = taught.students.get(CONTROL)
    fused = Fused(run.out, students, control, taught.chosen, taught.aligned, comparison, taught.pairs)
    write_results(run.out, "fuse", content_of(run, fused))
    write_report(run.out, run.out / REPORT_FILE)
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


def content_of(run: Run, fused: Fused) -> dict[str, Any]:
    """The content of results.json."""
    hashed = {model.name: {"weights_sha256": content_hash(model.checkpoint)} for model in run.models}
    inputs = [{**describe(model.checkpoint), **hashed[model.name]} for model in run.models]
    plan, seed, compared = run.plan.to_json(), run.plan.settings.seed, fused.comparison
    against = None if compared is None else compared.reference
    fusion = {
        "students": {name: str(path.relative_to(run.out)) for name, path in fused.students.items()},
        "aligned": dict(fused.aligned),
        "chosen": {group: dict(counts) for group, counts in fused.chosen.items()},
        "pairs": fused.pairs,
    }
    task = {} if run.task is None else {"task": told_task(run.task)}
    examples = {} if run.task is None else {"examples": {"test": told_examples(run.task.split("test", seed=seed))}}
    return {
        **task,
        "seed": seed,
        "winner": {"name": FUSED, "kind": "fusion", "plan": plan, "path": MODEL, "against": against},
        "test": [] if compared is None else [system.result.to_json() for system in compared.systems],
        **examples,
        "details": {"fusion": fusion},
        "provenance": provenance(plan=plan, inputs=inputs, seed=seed),
    }
