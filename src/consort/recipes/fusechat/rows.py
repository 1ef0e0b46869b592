"""The modes pairwise and together (2408.07990): rows of every model, their alignment, students that learn from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from consort.core.errors import Incompatible
from consort.core.journal import key_of
from consort.core.progress import track
from consort.distil.pairing import Pair, align
from consort.distil.rows import Online, Source
from consort.distil.store import collect, header
from consort.distil.targets import Fusion, Teaching, Texts
from consort.fuse.training import is_trained, recipe_of, train
from consort.recipes.fusechat.models import Opened
from consort.recipes.fusechat.setup import Run

CONTROL = "control"
LITTLE = 0.05
"""A source that shares less of the pivot's positions teaches next to nothing."""


def collect_rows(run: Run) -> dict[str, Source]:
    """The rows of every model that needs them, by name: recorded, or asked for while the student trains."""
    wanted = run.models if run.plan.fuse.pivot else run.sources
    return {model.name: _rows(run, model) for model in wanted}


def _rows(run: Run, model: Opened) -> Source:
    options = run.plan.collect
    if model.rows is not None:
        return run.given[model.name]
    if options.teacher == "online":
        return Online(model.load(options.dtype), options.k, options.mass)
    with track(f"collecting {model.name}", len(run.documents)) as advance:
        return collect(
            lambda: model.load(options.dtype),
            model.tokenizer,
            run.documents,
            run.folder("rows", model.name, _rows_key(run, model)),
            options,
            stamp=model.stamp,
            advance=advance,
        )


def _rows_key(run: Run, model: Opened) -> str:
    given = run.given.get(model.name)
    return key_of(given.header if given else header(model.tokenizer, run.documents, run.plan.collect, model.stamp))


def align_all(run: Run) -> dict[str, Pair]:
    """Every source beside the pivot. Raises Incompatible where they share next to no positions."""
    found = {}
    for source in run.sources:
        with track(f"aligning {source.name}", len(run.documents)) as advance:
            folder = run.folder("pairs", source.name, _pair_key(run, source))
            options, ours = run.plan.align, run.pivot.tokenizer
            pair = align(ours, source.tokenizer, run.documents, folder, options, advance=advance)
        if share(run, pair) < LITTLE and run.plan.align.unaligned == "mask":
            what = f"shares {share(run, pair):.1%} of the pivot's positions"
            raise Incompatible(what, field=source.name, hint="is it a tokenizer of this language?")
        found[source.name] = pair
    return found


def share(run: Run, pair: Pair) -> float:
    """The share of the pivot's positions that a source has a row for."""
    partners = [pair.partners(document) for document in run.documents]
    return sum(int((p >= 0).sum()) for p in partners) / max(sum(map(len, partners)), 1)


def _pair_key(run: Run, source: Opened) -> str:
    keys = [asdict(run.plan.align), run.pivot.tokenizer.vocabulary_key, source.tokenizer.vocabulary_key]
    return key_of([*keys, source.tokenizer.eos, run.corpus_key])


def students_of(run: Run, rows: Mapping[str, Source], pairs: Mapping[str, Pair]) -> dict[str, Path]:
    """The students, by name; with `control`, last the one that learnt from the corpus alone."""
    found = {}
    for name, names in run.groups.items():
        taught = [[_rows_key(run, s), _pair_key(run, s)] for s in run.sources if s.name in names]
        sources = [(rows[source], pairs[source]) for source in names]
        plan, own = run.plan, rows.get(run.pivot.name)
        fusion = Fusion(run.pivot.tokenizer, own, sources, plan.fuse, plan.align, documents=run.documents)
        found[name] = _student(run, name, fusion, taught)
    if run.plan.settings.control:
        found[CONTROL] = _student(run, CONTROL, Texts(run.pivot.tokenizer), [])
    return found


def _student(run: Run, name: str, teaching: Teaching, taught: Sequence[Any]) -> Path:
    """A student's folder, trained unless it is there already."""
    seed = run.plan.settings.seed
    options = run.plan.train if taught else replace(run.plan.train, lam=1.0, variant="constant")
    inputs: dict[str, Any] = {"taught": taught, "corpus": run.corpus_key, "pivot": run.pivot.stamp}
    inputs |= {"train": asdict(options), "seed": seed} | ({"fuse": asdict(run.plan.fuse)} if taught else {})
    folder = run.folder("students", name, key_of(inputs))
    if not is_trained(folder):
        with track(f"training {name}", recipe_of(options, len(run.documents)).steps) as advance:
            pivot, texts = run.pivot.checkpoint, run.documents
            train(pivot, texts, teaching, folder, options, seed=seed, plan=inputs, advance=advance)
    return folder


def chosen(run: Run, rows: Mapping[str, Source], pairs: Mapping[str, Pair]) -> dict[str, dict[str, int]]:
    """For each group of documents the units that each candidate has the lowest loss in, over all sources."""
    names = [source.name for source in run.sources]
    candidates = [*([run.pivot.name] if run.pivot.name in rows else []), *names]
    options = replace(run.plan.fuse, function="min_ce", weights=None)
    own = [(rows[name], pairs[name]) for name in names]
    texts, first = run.documents, rows.get(run.pivot.name)
    fusion = Fusion(run.pivot.tokenizer, first, own, options, run.plan.align, documents=texts, keep=1)
    found: dict[str, Counter[int]] = {}
    for document in run.documents:
        found.setdefault(document.group or "all", Counter()).update(fusion.target(document).chosen.tolist())
    return {group: {candidates[i]: n for i, n in sorted(counts.items())} for group, counts in sorted(found.items())}
