"""The mode preference (FuseChat-3.0, 2503.04222): answers of the sources, rewards, SFT on the best, DPO on pairs.

OUT/answers/NAME-KEY   a source's answers    OUT/students/best-KEY        the pivot taught the best answers
OUT/scores/NAME-KEY    their rewards         OUT/students/preferred-KEY   the same after DPO
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.errors import BadData
from consort.core.journal import key_of
from consort.core.progress import track
from consort.distil.corpus import Document, corpus_key
from consort.distil.targets import Texts
from consort.fuse.preference import Answer, Preference, best_answers, preferences, sample, scored
from consort.fuse.preferring import train_preferred
from consort.fuse.training import is_trained, recipe_of, train
from consort.recipes.fusechat.models import Opened, window_of
from consort.recipes.fusechat.reward import Judge
from consort.recipes.fusechat.setup import Run
from consort.weights import open_folder

BEST, PREFERRED = "best", "preferred"


@dataclass(frozen=True, slots=True)
class Learnt:
    """The students of both trainings, for each group of prompts the best answers of each source, and the pairs."""

    students: dict[str, Path]
    chosen: dict[str, dict[str, int]]
    pairs: int


def learn(run: Run, judge: Judge) -> Learnt:
    """All stages but the last. Raises BadData where no answer, or no pair of answers, is fit to learn from."""
    answers = [answer for source in run.sources for answer in judged(run, source, judge)]
    heads, separator = [asked.head for asked in run.asked], run.plan.settings.separator
    fits = _fitting(run, answers, heads, separator)
    best = best_answers(fits, heads, least=judge.least, separator=separator)
    pairs = preferences(fits, heads, gap=judge.gap, separator=separator)
    if not pairs:
        gaps = "all scores of a source's answers to a prompt are equal, or differ by less or more"
        what = f"no pair of answers differs by {judge.gap[0]:g} to {judge.gap[1]:g}"
        raise BadData(what, field="prefer.gap", hint=f"{gaps}; widen it, or sample more")
    first = _best_student(run, [document for _, document in best.values()])
    counts: dict[str, Counter[str]] = {}
    for number, (answer, _) in best.items():
        counts.setdefault(run.asked[number].example.group or "all", Counter())[answer.source] += 1
    chosen = {group: dict(sorted(own.items())) for group, own in sorted(counts.items())}
    return Learnt({BEST: first, PREFERRED: _preferred_student(run, first, pairs)}, chosen, len(pairs))


def judged(run: Run, source: Opened, judge: Judge) -> list[Answer]:
    """A source's answers with their rewards."""
    options, seed = run.plan.sample, run.plan.settings.seed
    key = key_of([source.stamp, source.choice, run.corpus_key, asdict(options), seed])
    count = len(run.asked) * options.each
    with track(f"asking {source.name}", count) as advance:
        prompts, folder = [asked.prompt for asked in run.asked], run.folder("answers", source.name, key)
        load = lambda: source.load(options.dtype)  # noqa: E731
        found = sample(source.name, load, prompts, folder, options, stamp=source.stamp, seed=seed, advance=advance)
    key = key_of([key, judge.key])
    with track(f"judging {source.name}", count) as advance:
        reward = lambda number, text: judge.reward(run.asked[number], text)  # noqa: E731
        return scored(found, reward, run.folder("scores", source.name, key), key=key, advance=advance)


def _fitting(run: Run, answers: Sequence[Answer], heads: Sequence[str], separator: str) -> list[Answer]:
    """The answers that, after their prompts, the pivot can read within `block` tokens and its window."""
    tokenizer, block = run.pivot.tokenizer, min(run.plan.sample.block, window_of(run.pivot) or run.plan.sample.block)
    texts = (Document(heads[a.prompt] + separator + a.text, ()) for a in answers)
    return [answer for answer, text in zip(answers, texts, strict=True) if len(text.spelled(tokenizer)) <= block]


def _best_student(run: Run, documents: Sequence[Document]) -> Path:
    """The pivot after SFT."""
    options, seed = replace(run.plan.train, lam=1.0), run.plan.settings.seed
    inputs: dict[str, Any] = {"corpus": corpus_key(documents), "pivot": run.pivot.stamp, "train": asdict(options)}
    inputs |= {"seed": seed}
    folder = run.folder("students", BEST, key_of(inputs))
    if not is_trained(folder):
        with track(f"training {BEST}", recipe_of(options, len(documents)).steps) as advance:
            texts, pivot = Texts(run.pivot.tokenizer), run.pivot.checkpoint
            train(pivot, documents, texts, folder, options, seed=seed, plan=inputs, advance=advance)
    return folder


def _preferred_student(run: Run, best: Path, pairs: Sequence[Preference]) -> Path:
    """The student of the best answers after DPO against itself."""
    options, weights, seed = run.plan.prefer, run.plan.train, run.plan.settings.seed
    keys = [(pair.chosen.key, pair.rejected.key) for pair in pairs]
    adapter = [weights.rank, weights.alpha]
    inputs = {"start": best.name, "pairs": key_of(keys), "prefer": asdict(options), "adapter": adapter, "seed": seed}
    folder = run.folder("students", PREFERRED, key_of(inputs))
    if not is_trained(folder):
        with track(f"training {PREFERRED}", recipe_of(options, len(pairs)).steps) as advance:
            start = open_folder(best)
            train_preferred(start, pairs, folder, options, weights, seed=seed, plan=inputs, advance=advance)
    return folder
