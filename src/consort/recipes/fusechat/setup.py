"""A fusion about to run: its plan, opened models, texts, and a folder for each stage; all faults are found first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError
from consort.core.journal import key_of
from consort.core.progress import PROGRESS_FILE
from consort.data import Task, load_task
from consort.distil.corpus import Asked, Document, corpus_key, fitted, read_corpus, read_prompts
from consort.distil.store import Store
from consort.distil.targets import check_function
from consort.fuse.training import recipe_of
from consort.plan.build import Builder
from consort.plan.expression import dump, parse
from consort.plan.fuse.plan import FusePlan, name_of
from consort.plan.references import task_path
from consort.recipes.fusechat.models import Opened, check_rank, check_reads, open_model
from consort.recipes.fusechat.reward import Judge, judge_of

JOURNAL, PLAN = "journal.jsonl", "plan.yml"


class Run:
    """The plan, the opened models, the corpus, and a folder for each stage. Raises ConsortError; writes nothing."""

    def __init__(self, plan: FusePlan, out: Path, *, allow_remote_code: bool = False) -> None:
        self.plan, self.out = plan, out
        _check_recipes(plan)
        self.builder = Builder(plan.settings.seed, allow_remote_code)
        listed = [(plan.pivot, name_of(plan.pivot), None), *((t.model, t.name, t.rows) for t in plan.sources)]
        opened = [open_model(self.builder, *one, allow_remote_code=allow_remote_code) for one in listed]
        self.pivot, self.sources = opened[0], opened[1:]
        check_rank(self.pivot, plan.train.rank)
        self.task: Task | None = load_task(task_path(plan.settings.task)) if plan.settings.task else None
        self.given: dict[str, Store] = {}
        self.documents: list[Document] = []
        self.asked: list[Asked] = []
        self.judge: Judge | None = None
        if plan.by_preference:
            self._open_prompts()
        else:
            self._open_texts()

    @property
    def models(self) -> list[Opened]:
        """The pivot, then the sources."""
        return [self.pivot, *self.sources]

    @property
    def groups(self) -> dict[str, list[str]]:
        """The students to train on rows: one a source, or one of all."""
        names = [source.name for source in self.sources]
        return {name: [name] for name in names} if self.plan.settings.mode == "pairwise" else {"together": names}

    def _open_prompts(self) -> None:
        self.asked = read_prompts(
            self.plan.settings.corpus, self.pivot.tokenizer, graded=self.plan.reward_model is None
        )
        self.judge = judge_of(self.plan, self.builder)
        heads = [Document(asked.head, (), whole=False) for asked in self.asked]
        for model in self.models:
            check_reads(model, heads)

    def _open_texts(self) -> None:
        plan = self.plan
        texts = read_corpus(plan.settings.corpus, self.pivot.tokenizer, separator=plan.settings.separator)
        self.documents = fitted(texts, [model.tokenizer for model in self.models], plan.collect.block)
        for names in self.groups.values():
            check_function(plan.fuse, len(names) + plan.fuse.pivot)
        for model in self.models:
            check_reads(model, self.documents)
        self._check_merge()
        self.given = {m.name: self._given(m) for m in self.sources if m.rows is not None}

    def _check_merge(self) -> None:
        """Raise what the merge would say of so many students, before they are trained; nothing is read."""
        count = len(self.groups)
        if count > 1:
            base = dump(self.plan.pivot)
            self.builder.build(parse({"plan": self.plan.merged([base] * count, base)}).root, "checkpoint")

    def _given(self, source: Opened) -> Store:
        """Rows recorded before; they must be of this vocabulary and of some of these texts."""
        store = Store(Path(source.rows or ""), source.tokenizer)
        store.check_overlap(self.documents)
        return store

    def folder(self, stage: str, name: str, key: str) -> Path:
        """The place of what a stage makes, named by all that it depends on."""
        folder = self.out / stage / f"{name}-{key}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def corpus_key(self) -> str:
        """A hash of the texts, or of the prompts with their targets."""
        asked = [[one.head, list(one.example.target)] for one in self.asked]
        return key_of(asked) if asked else corpus_key(self.documents)

    def describe(self) -> dict[str, Any]:
        """What the run will do, from headers and texts alone."""
        return self._describe_answers() if self.plan.by_preference else self._describe_rows()

    def _describe_answers(self) -> dict[str, Any]:
        count = len(self.asked)
        return {
            "prompts": count,
            "answers": count * self.plan.sample.each * len(self.sources),
            "steps": recipe_of(self.plan.train, count).steps,
            "preference_steps": recipe_of(self.plan.prefer, count).steps,
            "trainings": 2,
        }

    def _describe_rows(self) -> dict[str, Any]:
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
            "trainings": len(self.groups) + self.plan.settings.control,
        }


def _check_recipes(plan: FusePlan) -> None:
    """Raise BadParameter for a training that could not be done, such as one at a rate of 0."""
    for name, options in (("train", plan.train), ("prefer", plan.prefer)):
        try:
            recipe_of(options, 1)
        except ConsortError as fault:
            raise fault.within(name) from None


@contextmanager
def nothing_left(out: Path) -> Iterator[None]:
    """Within the block, an error removes a new run folder, or empties it, if no work is finished in it.

    A kill or an interruption leaves it, and so does an error once there is work that a later run can use.
    """
    above = [folder for folder in out.parents if not folder.exists()]
    was_there = out.exists()
    is_new = not (was_there and any(out.iterdir()))
    try:
        yield
    except Exception:
        if is_new and not _worked(out):
            shutil.rmtree(out, ignore_errors=True)
            with suppress(OSError):
                if was_there:
                    out.mkdir()
                for folder in above:
                    folder.rmdir()
        raise


def _worked(out: Path) -> bool:
    """Whether a run folder holds more than its plan and the first lines of journals."""
    files: Sequence[Path] = [
        path for path in out.rglob("*") if path.is_file() and path not in (out / PLAN, out / PROGRESS_FILE)
    ]
    return any(path.name != JOURNAL or path.read_bytes().count(b"\n") > 1 for path in files)
