"""Knowledge fusion as FuseChat does it (2408.07990): record, align, fuse pair by pair, merge with SCE, measure.

The run folder holds what each stage made under a name that tells all it depends on, so a killed run goes on where it
was, and one more source in the plan costs its own rows, its own pair, and a merge.

    OUT/rows/NAME-KEY     a model's rows on the corpus          OUT/students/NAME-KEY   the pivot taught by a source
    OUT/pairs/NAME-KEY    a source's alignment with the pivot   OUT/model               the result
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import consort
from consort.core.errors import ConsortError, Incompatible
from consort.core.files import check_place, write_atomic, write_json
from consort.core.journal import Journal, key_of, provenance
from consort.core.progress import track
from consort.data import Task, dump_yaml, load_task
from consort.evaluate import Comparison, Result, compare, evaluate
from consort.fuse.corpus import corpus_key, fitted, read_corpus
from consort.fuse.pairing import Pair, align
from consort.fuse.rows import Online, Source
from consort.fuse.store import Store, clear_torn, collect, header
from consort.fuse.targets import Fusion, check_function
from consort.fuse.training import CURVE, recipe_of, train
from consort.models.base import Tokenizer
from consort.models.hf import HFModel, load_model, own_tokenizer
from consort.plan.build import Builder
from consort.plan.expression import Node, Reference, dump, parse
from consort.plan.fuse import FusePlan, name_of, parse_fuse, read_fuse
from consort.plan.references import task_path
from consort.weights import Checkpoint, describe, write
from consort.weights.stats import fingerprint
from consort.weights.store import check_target

MODEL, RESULTS, CONTROL, FUSED = "model", "results.json", "control", "fused"
LITTLE = 0.05
"""A source that shares less of the pivot's positions teaches next to nothing."""
UNWRITTEN, SAMPLED = 0.2, 256
"""The share of unknown tokens, in the first documents, from which on a model is refused."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model of the plan: its weights, unread, and its tokenizer. `stamp` tells them from others."""

    name: str
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    stamp: str
    choice: str | None
    rows: str | None = None

    def load(self, dtype: str) -> HFModel:
        return load_model(self.checkpoint, name=self.name, dtype=dtype, tokenizer=self.choice)


@dataclass(frozen=True, slots=True)
class Fused:
    """What a fusion came to. `chosen` counts, for each group of documents, the units that each candidate won."""

    folder: Path
    students: Mapping[str, Path]
    control: Path | None
    chosen: Mapping[str, Mapping[str, int]]
    aligned: Mapping[str, float]
    comparison: Comparison | None

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


class Fusing:
    """A run: the plan, the opened models, the corpus, and a folder for each stage."""

    def __init__(self, plan: FusePlan, out: Path, *, allow_remote_code: bool = False) -> None:
        self.plan, self.out, self.allow_remote_code = plan, out, allow_remote_code
        self.builder = Builder(plan.settings.seed, allow_remote_code)
        self.pivot = self._open(plan.pivot, name_of(plan.pivot))
        self.sources = [self._open(teacher.model, teacher.name, teacher.rows) for teacher in plan.sources]
        texts = read_corpus(plan.settings.corpus, self.pivot.tokenizer, separator=plan.settings.separator)
        self.documents = fitted(texts, [m.tokenizer for m in self.models], plan.collect.block)
        for names in self._groups().values():
            check_function(plan.fuse, len(names) + plan.fuse.pivot)
        self._check_written()
        self._check_merge()
        self.given = {m.name: self._given(m) for m in self.sources if m.rows is not None}
        self.task: Task | None = load_task(task_path(plan.settings.task)) if plan.settings.task else None

    @property
    def models(self) -> list[Opened]:
        """The pivot, then the sources."""
        return [self.pivot, *self.sources]

    def _open(self, node: Node, name: str, rows: str | None = None) -> Opened:
        checkpoint = self.builder.build(node, "checkpoint")
        choice = node.tokenizer if isinstance(node, Reference) else None
        tokenizer = own_tokenizer(checkpoint, choice=choice, allow_remote_code=self.allow_remote_code)
        return Opened(name, checkpoint, tokenizer, fingerprint(checkpoint), choice, rows)

    def _check_written(self) -> None:
        """Raise Incompatible for a tokenizer that cannot write the texts: such a model would be read on other ones."""
        for model in self.models:
            unknown = getattr(model.tokenizer, "unk", None)
            ids = [i for d in self.documents[:SAMPLED] for i in d.spelled(model.tokenizer).ids.tolist()]
            if unknown is not None and ids.count(unknown) > UNWRITTEN * len(ids):
                what = f"its tokenizer cannot write the texts: {ids.count(unknown) / len(ids):.0%} of them is unknown"
                raise Incompatible(what, field=model.name, hint="leave this model out")

    def _check_merge(self) -> None:
        """Raise what the merge would say of so many students, before they are trained; nothing is read."""
        count = len(self._groups())
        if count > 1:
            base = dump(self.plan.pivot)
            self.builder.build(parse({"plan": self.plan.merged([base] * count, base)}).root, "checkpoint")

    def _given(self, source: Opened) -> Store:
        """Rows recorded before; they must be of this vocabulary and of some of these texts."""
        store = Store(Path(source.rows or ""), source.tokenizer)
        store.check_overlap(self.documents)
        return store

    def describe(self) -> dict[str, Any]:
        """What the run will do, from headers and texts alone."""
        positions = {m.name: sum(len(d.spelled(m.tokenizer)) - 1 for d in self.documents) for m in self.models}
        k = self.plan.collect.k
        return {
            "documents": len(self.documents),
            "positions": positions,
            "store_bytes": sum(
                n * (k * (2 + (2 if m.tokenizer.vocab_size <= 1 << 16 else 4)) + 10)
                for m, n in zip(self.models, positions.values(), strict=True)
            ),
            "steps": recipe_of(self.plan.train, len(self.documents)).steps,
            "trainings": len(self._groups()) + self.plan.settings.control,
        }

    # the stages

    def collect(self) -> dict[str, Source]:
        """The rows of every model that needs them, by name: recorded, or asked for while the student trains."""
        wanted = self.models if self.plan.fuse.pivot else self.sources
        return {model.name: self._rows(model) for model in wanted}

    def _rows(self, model: Opened) -> Source:
        options = self.plan.collect
        if model.name in self.given and model.rows is not None:
            return self.given[model.name]
        if options.teacher == "online":
            return Online(model.load(options.dtype), options.k, options.mass)
        with track(f"collecting {model.name}", len(self.documents)) as advance:
            return collect(
                lambda: model.load(options.dtype),
                model.tokenizer,
                self.documents,
                self._folder("rows", model.name, self._rows_key(model)),
                options,
                stamp=model.stamp,
                advance=advance,
            )

    def _rows_key(self, model: Opened) -> str:
        return key_of(header(model.tokenizer, self.documents, self.plan.collect, model.stamp))

    def _folder(self, stage: str, name: str, key: str) -> Path:
        folder = self.out / stage / f"{name}-{key}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        clear_torn(folder.parent)
        return folder

    def align(self) -> dict[str, Pair]:
        """Every source beside the pivot. Raises Incompatible where they share next to no positions."""
        found = {}
        for source in self.sources:
            key = self._pair_key(source)
            with track(f"aligning {source.name}", len(self.documents)) as advance:
                folder = self._folder("pairs", source.name, key)
                options = self.plan.align
                pair = align(self.pivot.tokenizer, source.tokenizer, self.documents, folder, options, advance=advance)
            if self.share(pair) < LITTLE and self.plan.align.unaligned == "mask":
                what = f"shares {self.share(pair):.1%} of the pivot's positions"
                raise Incompatible(what, field=source.name, hint="is it a tokenizer of this language?")
            found[source.name] = pair
        return found

    def share(self, pair: Pair) -> float:
        """The share of the pivot's positions that a source has a row for."""
        partners = [pair.partners(document) for document in self.documents]
        return sum(int((p >= 0).sum()) for p in partners) / max(sum(map(len, partners)), 1)

    def _pair_key(self, source: Opened) -> str:
        keys = [asdict(self.plan.align), self.pivot.tokenizer.vocabulary_key, source.tokenizer.vocabulary_key]
        return key_of([*keys, source.tokenizer.eos, corpus_key(self.documents)])

    def fusion(self, names: Sequence[str], rows: Mapping[str, Source], pairs: Mapping[str, Pair]) -> Fusion:
        """The fused targets of some sources with the pivot."""
        sources = [(rows[name], pairs[name]) for name in names]
        own = rows.get(self.pivot.name)
        plan, texts = self.plan, self.documents
        return Fusion(self.pivot.tokenizer, own, sources, plan.fuse, plan.align, documents=texts)

    def _groups(self) -> dict[str, list[str]]:
        """The students to train: one a source, or one of all."""
        names = [source.name for source in self.sources]
        return {name: [name] for name in names} if self.plan.settings.mode == "pairwise" else {"together": names}

    def train(self, rows: Mapping[str, Source], pairs: Mapping[str, Pair]) -> dict[str, Path]:
        """The students, by name; with `control`, last the one that learnt from the corpus alone."""
        found = {name: self._student(name, names, rows, pairs) for name, names in self._groups().items()}
        if self.plan.settings.control:
            found[CONTROL] = self._student(CONTROL, next(iter(self._groups().values())), rows, pairs)
        return found

    def _student(self, name: str, names: Sequence[str], rows: Mapping[str, Source], pairs: Mapping[str, Pair]) -> Path:
        is_control = name == CONTROL
        options = replace(self.plan.train, lam=1.0, variant="constant") if is_control else self.plan.train
        taught = (
            [] if is_control else [[self._source_key(s), self._pair_key(s)] for s in self.sources if s.name in names]
        )
        told: dict[str, Any] = {"taught": taught, "corpus": corpus_key(self.documents), "pivot": self.pivot.stamp}
        told |= {"train": asdict(options), "seed": self.plan.settings.seed}
        told |= {} if is_control else {"fuse": asdict(self.plan.fuse)}
        folder = self._folder("students", name, key_of(told))
        if not (folder / CURVE).is_file():
            steps = recipe_of(options, len(self.documents)).steps
            with track(f"training {name}", steps) as advance:
                fusion, seed = self.fusion(names, rows, pairs), self.plan.settings.seed
                train(
                    self.pivot.checkpoint,
                    self.documents,
                    fusion,
                    folder,
                    options,
                    seed=seed,
                    plan=told,
                    advance=advance,
                )
        return folder

    def _source_key(self, source: Opened) -> str:
        given = self.given.get(source.name)
        return self._rows_key(source) if given is None else key_of(given.header)

    def merge(self, students: Mapping[str, Path], done: Sequence[Mapping[str, Any]], journal: Journal) -> Path:
        """The result: the students merged over the pivot, the only one as it is; in the pivot's dtype."""
        folders = [str(path) for name, path in students.items() if name != CONTROL]
        base = dump(self.plan.pivot)
        expression = self.plan.merged(folders, base) if len(folders) > 1 else folders[0]
        names = [path.name for name, path in students.items() if name != CONTROL]
        key = key_of([self.plan.merge, names, self.pivot.stamp])
        out = self.out / MODEL
        if not out.is_dir() or [r["model"] for r in done if "model" in r][-1:] != [key]:
            merged = Builder(self.plan.settings.seed).build(parse({"plan": expression}).root, "checkpoint")
            floating = next(s.dtype for s in map(self.pivot.checkpoint.spec, self.pivot.checkpoint.keys()))
            told = self.plan.merged(names, base) if len(folders) > 1 else names[0]
            write(merged, out, out_dtype=floating, plan=told, seed=self.plan.settings.seed, force=True)
            journal.append({"model": key})
        return out

    def evaluate(
        self, model: Path, students: Mapping[str, Path], done: Sequence[Mapping[str, Any]], journal: Journal
    ) -> Comparison | None:
        """All models of the run on the plan's task, compared with the control, or else with the pivot."""
        if self.task is None:
            return None
        known = {record["key"]: record["result"] for record in done if "result" in record}
        systems: dict[str, Any] = {FUSED: model}
        systems |= {f"{name} student" if name != CONTROL else name: path for name, path in students.items()}
        results = []
        for name, path in systems.items():
            stamp = fingerprint(self.builder.build(Reference(str(path)), "checkpoint"))
            results.append(self._measured(name, stamp, lambda path=path: load_model(path), known, journal))
        for opened in self.models:
            load = lambda opened=opened: opened.load("float32")  # noqa: E731
            results.append(self._measured(opened.name, opened.stamp, load, known, journal))
        reference = CONTROL if self.plan.settings.control else self.pivot.name
        return compare(results, reference=reference, seed=self.plan.settings.seed)

    def _measured(self, name: str, stamp: str, load: Any, known: Mapping[str, Any], journal: Journal) -> Result:
        assert self.task is not None
        key = key_of([stamp, self.task.key])
        if key not in known:
            result = evaluate(load(), self.task, split="test", seed=self.plan.settings.seed)
            journal.append({"key": key, "result": result.to_json()})
            return replace(result, model=name)
        return replace(Result.from_json(known[key]), model=name)

    def chosen(self, rows: Mapping[str, Source], pairs: Mapping[str, Pair]) -> dict[str, dict[str, int]]:
        """For each group of documents the units that each candidate has the lowest loss in, over all sources."""
        names = [source.name for source in self.sources]
        candidates = [*([self.pivot.name] if self.pivot.name in rows else []), *names]
        options = replace(self.plan.fuse, function="min_ce", weights=None)
        own = [(rows[name], pairs[name]) for name in names]
        texts, first = self.documents, rows.get(self.pivot.name)
        fusion = Fusion(self.pivot.tokenizer, first, own, options, self.plan.align, documents=texts, keep=1)
        found: dict[str, Counter[int]] = {}
        for document in self.documents:
            found.setdefault(document.group or "all", Counter()).update(fusion.target(document).chosen.tolist())
        return {group: {candidates[i]: n for i, n in sorted(counts.items())} for group, counts in sorted(found.items())}


def fuse(
    plan: FusePlan | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    force: bool = False,
    allow_remote_code: bool = False,
) -> Fused:
    """Run a fusion plan into the folder `out`; what an earlier run of this pivot left there is used again.

    Raises ConsortError, before any work, for inputs that cannot be used.
    """
    run = opened(plan, out, allow_remote_code=allow_remote_code)
    out = run.out
    check_target(out, [Path(str(m.checkpoint.path)) for m in run.models if hasattr(m.checkpoint, "path")], force=True)
    journal = Journal(out, key_of(["fuse", run.pivot.stamp]), force=force, sound=is_record)
    done = journal.open()
    write_atomic(out / "plan.yml", dump_yaml(run.plan.to_json()))
    rows = run.collect()
    pairs = run.align()
    students = run.train(rows, pairs)
    model = run.merge(students, done, journal)
    comparison = run.evaluate(model, students, done, journal)
    fused = Fused(
        out,
        {name: path for name, path in students.items() if name != CONTROL},
        students.get(CONTROL),
        run.chosen(rows, pairs),
        {name: run.share(pair) for name, pair in pairs.items()},
        comparison,
    )
    write_json(out / RESULTS, document(run, fused))
    return fused


def is_record(record: Mapping[str, Any]) -> bool:
    """Whether a line of the journal is one that a fusion wrote."""
    if isinstance(record.get("model"), str):
        return True
    try:
        Result.from_json(record.get("result"))
    except ConsortError:
        return False
    return isinstance(record.get("key"), str)


def opened(
    plan: FusePlan | Mapping[str, Any] | str | Path, out: str | Path, *, allow_remote_code: bool = False
) -> Fusing:
    """The checked run of a plan, nothing done yet."""
    check_place(out)
    if isinstance(plan, str | Path):
        plan = read_fuse(plan)
    elif not isinstance(plan, FusePlan):
        plan = parse_fuse(plan)
    return Fusing(plan, Path(out), allow_remote_code=allow_remote_code)


def document(run: Fusing, fused: Fused) -> dict[str, Any]:
    """The content of results.json."""
    inputs = [describe(model.checkpoint) for model in run.models]
    return {
        "consort": consort.__version__,
        "plan": run.plan.to_json(),
        "model": MODEL,
        "students": {name: str(path.relative_to(run.out)) for name, path in fused.students.items()},
        "aligned": dict(fused.aligned),
        "chosen": {group: dict(counts) for group, counts in fused.chosen.items()},
        "comparison": None if fused.comparison is None else fused.comparison.to_json(),
        "provenance": provenance(plan=run.plan.to_json(), inputs=inputs, seed=run.plan.settings.seed),
    }
