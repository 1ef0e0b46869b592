"""Routers, cascades and votes that learn from answers which are known already, so that no model is asked again.

They are judged by cross-fitting: each fifth of the examples is replayed by a strategy that learned from the others.
What a strategy learned from all of them in the end lies beside the plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Int

from consort.core.errors import ConsortError, EnvironmentFailure, Unsupported
from consort.core.files import machine_errors
from consort.core.journal import key_of
from consort.core.types import Completion, Example, Prompt, Sampling
from consort.ensemble.learning.fitting import save_learned
from consort.ensemble.learning.observations import Observed, from_results
from consort.evaluate import Result
from consort.evaluate.registry import find_metric
from consort.evaluate.result import aggregate_of
from consort.plan.kinds import find
from consort.recipes.auto.stage import Proposal
from consort.runs.folder import STATES
from consort.runs.trials import Trials

FOLDS = 5
ROUTERS = ("knn", "ridge")
TESTED, ENOUGH = "auto_router", 200
"""The router that is chosen among routers, and different examples from which on it has something to test."""
LEARNERS = (*ROUTERS, TESTED, "frugal_gpt", "vote")
READ = ("frugal_gpt", "vote")
"""Those that look at the answers' texts."""
MOST_MEMBERS, MOST_CHAINED = 8, 6
"""Of a team; and of a chain, whose order is tried in all ways."""


class StubModel:
    """The name of a model whose answers are known; it is never asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """A completion for each prompt, in order."""
        raise Unsupported("its answers are known and it is not asked", field=self.name)


def learners(
    members: Sequence[Proposal],
    examples: Sequence[Example],
    seed: int,
    names: Sequence[str] = LEARNERS,
    *,
    of: str = "models",
    called: str = "",
    arguments: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[list[Proposal], list[str]]:
    """The strategies called `names` of the best members, cross-fitted, and why others were left out.

    Those that cannot be fitted are left out, and those that would always choose the same member. Where answers are
    judged by log-likelihoods there are routers only. The file of each one's state, which its expression names, is not
    written yet (`keep`); `of` is what the members are called, `called` tells these strategies from others of the same
    names, and `arguments` are theirs, by name.
    """
    need = needs_of(members[0].known.metric)
    if len(members) < 2 or need == "logprobs":
        return [], []
    found, notes = [], []
    for name in names:
        if need == "score" and name not in (*ROUTERS, TESTED):
            continue
        most = MOST_CHAINED if name == "frugal_gpt" else MOST_MEMBERS
        ranked = sorted(complementary(members, most), key=lambda p: -p.known.score)
        observed = observe([p.known for p in ranked], [p.price for p in ranked], examples)
        if name == TESTED and len(set(observed.queries)) < ENOUGH:
            continue
        try:
            recipe = Recipe(name, called, arguments.get(name, {}))
            found.append(_learner(recipe, ranked, observed, seed, of))
        except EnvironmentFailure:
            raise
        except ConsortError as fault:
            notes.append(f"no {Recipe(name, called).label} of {of}: {fault}")
    return found, notes


def complementary(members: Sequence[Proposal], most: int = MOST_MEMBERS) -> list[Proposal]:
    """At most `most` of them: the best, then each time who adds most to what some member is right about."""
    if len(members) <= most:
        return list(members)
    scores = np.array([p.known.scores for p in members])
    chosen: list[int] = []
    best = np.full(scores.shape[1], -np.inf)
    while len(chosen) < most:
        left = [i for i in range(len(members)) if i not in chosen]
        chosen.append(max(left, key=lambda i: (np.maximum(best, scores[i]).mean(), scores[i].mean())))
        best = np.maximum(best, scores[chosen[-1]])
    return [members[i] for i in sorted(chosen)]


def needs_of(metric: str) -> str:
    """What a metric needs of a model: answers ("generate", "completion"), "score" or "logprobs"."""
    return "generate" if ":" in metric else find_metric(metric).asks


def observe(results: Sequence[Result], prices: Sequence[float | None], examples: Sequence[Example]) -> Observed:
    """What members did on examples; the cost is their price where all prices are known."""
    observed = from_results(results, examples)
    cost = None if None in prices else np.tile(np.array(prices, dtype=float), (len(examples), 1))
    return replace(observed, cost=cost)


def keep(team: Proposal, folder: Path) -> None:
    """Write what `team` learned, if anything, to the file in the plan's folder that its expression names."""
    if team.save is None:
        return
    [arguments] = team.expression.values()
    path = folder / arguments["state"]
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    team.save(path)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A strategy that learns: its registered name, what tells it from others of that name, and its arguments."""

    name: str
    called: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How it is told of."""
        return f"{self.called} {self.name}".strip()

    def unfitted(self, members: Sequence[Proposal]) -> Any:
        """The strategy over the names of `members`."""
        made = find(self.name)[0].get(self.name)
        return made([StubModel(p.name) for p in members], **self.arguments)


def _learner(recipe: Recipe, members: Sequence[Proposal], observed: Observed, seed: int, of: str) -> Proposal:
    seconds = [p.seconds for p in members]
    whole = recipe.unfitted(members)
    judged = cross_fitted(whole, observed, seed, None if None in seconds else seconds)
    used, fitted = _of_those_in_use(recipe, members, whole.fit(observed, seed=seed), observed, seed)
    if len(used) < 2:
        raise Unsupported(f"it would always choose {used[0].name}", field=recipe.name)
    team = _team(recipe, used, fitted, f"{recipe.label} of {len(used)} {of}", "")
    result = replayed(team.name, members, judged.answered_by)
    team = replace(team, result=result, price=judged.price, seconds=judged.seconds)
    return replace(team, relearn=partial(_relearnt, recipe, used, team))


def _team(recipe: Recipe, used: Sequence[Proposal], fitted: Any, label: str, suffix: str) -> Proposal:
    """A fitted strategy as a proposal, its state under a name of its own."""
    models = [p.expression for p in used]
    own = {name.rstrip("_"): value for name, value in recipe.arguments.items()}
    file = f"{recipe.label.replace(' ', '_')}-{key_of(models)[:8]}{suffix}{Path(fitted.learned.file_name).suffix}"
    arguments = {"models": models, **own, "state": f"{STATES}/{file}"}
    return Proposal(label, {recipe.name: arguments}, None, None, True, partial(save_learned, fitted.learned))


def _relearnt(recipe: Recipe, used: Sequence[Proposal], team: Proposal, trials: Trials) -> Proposal:
    """The strategy fitted on all of dev: what was held out has decided, and may teach now."""
    splits = ("fit", "held_out")
    examples = [example for split in splits for example in trials.task.split(split, seed=trials.seed)]
    known = trials.answered if recipe.name in READ else trials.result
    halves = [[known(p.name, p.expression, split) for split in splits] for p in used]
    whole = [joined(parts) for parts in halves]
    fitted = recipe.unfitted(used).fit(observe(whole, [p.price for p in used], examples), seed=trials.seed)
    taught = _team(recipe, used, fitted, team.name, ".dev")
    return replace(taught, result=team.result, price=team.price, seconds=team.seconds)


def joined(parts: Sequence[Result]) -> Result:
    """The results of one model on several sets of examples as one, in their order."""
    first = parts[0]
    rows = tuple(row for part in parts for row in part.statistics)
    answers = tuple(a for part in parts for a in part.answers) if all(part.answers for part in parts) else ()
    score = float(aggregate_of(first.metric).aggregate(np.array(rows).sum(0)))
    return replace(
        first, split="dev", statistics=rows, answers=answers, score=score, interval=(score, score), groups={}
    )


def _of_those_in_use(
    recipe: Recipe, members: Sequence[Proposal], fitted: Any, observed: Observed, seed: int
) -> tuple[Sequence[Proposal], Any]:
    """The members that the fitted strategy can ask, and the strategy over them alone if it then does the same."""
    used = fitted.in_use
    if len(used) == len(members):
        return members, fitted
    part = observed.columns(used)
    smaller = recipe.unfitted([members[m] for m in used]).fit(part, seed=seed)
    same = [used[m] for m in smaller.replay(part).answered_by] == list(fitted.replay(observed).answered_by)
    return ([members[m] for m in used], smaller) if same else (members, fitted)


def replayed(label: str, members: Sequence[Proposal], answered_by: Iterable[int]) -> Result:
    """The result of having each example answered by the member of that number."""
    first = members[0].known
    rows = tuple(members[m].known.statistics[i] for i, m in enumerate(answered_by))
    score = float(aggregate_of(first.metric).aggregate(np.array(rows).sum(0)))
    return replace(first, model=label, statistics=rows, score=score, interval=(score, score), answers=(), groups={})


def fold_of(query: str) -> int:
    """The fold of a query: salted, since task files are themselves cut by a checksum of their lines."""
    digest = hashlib.blake2b(query.encode(), digest_size=8, salt=b"cross-fitting").digest()
    return int.from_bytes(digest) % FOLDS


@dataclass(frozen=True, slots=True)
class Judged:
    """Which model answers each query where the strategy did not learn from it; mean price and time of an answer."""

    answered_by: Int[np.ndarray, " n"]
    price: float | None
    seconds: float | None


def cross_fitted(strategy: Any, observed: Observed, seed: int, seconds: Sequence[float | None] | None = None) -> Judged:
    """What a strategy does on each query where it learned from the other folds only.

    `seconds` is what an answer of each model takes. Equal queries are in one fold. Raises Unsupported where there are
    too few different queries.
    """
    fold = np.array([fold_of(query) for query in observed.queries])
    answered_by = np.zeros(len(observed), dtype=int)
    paid = np.full((2, len(observed)), np.nan)
    times = None if seconds is None else np.tile(np.array(seconds, dtype=float), (len(observed), 1))
    for number in range(FOLDS):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if not len(inside) or not len(outside):
            raise Unsupported("there are too few examples to learn from", field=strategy.name)
        fitted, part = strategy.fit(observed.rows(outside), seed=seed), observed.rows(inside)
        replay = fitted.replay(part)
        answered_by[inside], paid[0, inside] = replay.answered_by, replay.cost
        if times is not None:
            paid[1, inside] = fitted.replay(replace(part, cost=times[inside])).cost
    if (answered_by < 0).any():
        raise Unsupported("its answers are nobody's alone", field=strategy.name)
    price, took = (None if np.isnan(one).any() else float(one.mean()) for one in paid)
    return Judged(answered_by, price, took)
