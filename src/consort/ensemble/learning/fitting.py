"""How a strategy learns from observed answers, how what it learned is kept, and when it is not used at all.

A fittable strategy is a model whose constructor has a keyword `state: str = ""`, the file of what it learned (relative
to the plan's file). It has

    learned                              a `Learned`, or None while it has neither been fitted nor read
    fit(observed, *, seed) -> strategy   the same strategy, which has learned; its models in the order observed
    replay(observed) -> Replay           what it would have done on observed answers, without a call

`with_learned` makes the fitted copy, `learned_of` reads the state file at its first use. States are JSON, or
safetensors whose header has the JSON; never pickle.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData, BadParameter
from consort.core.files import whole_file, write_json
from consort.ensemble.learning.observations import Observed
from consort.evaluate import Decision, Result, gate

HEADER = "consort"
FORMAT = 1
Rule = Literal["mean", "strict"]


@dataclass(frozen=True, slots=True)
class Learned:
    """What fitting found: named arrays, and values that go into JSON. `kind` is the registered name it belongs to."""

    kind: str
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The file that it is saved in, beside the plan."""
        return "state.safetensors" if self.arrays else "state.json"


@dataclass(frozen=True, slots=True)
class Replay:
    """What a strategy would have done: quality and cost of each query, and who answered (a number, -1 for several).

    `cost` is the sum over all models asked; NaN where unknown.
    """

    quality: Float[np.ndarray, " n"]
    cost: Float[np.ndarray, " n"]
    answered_by: tuple[int, ...] = ()


class Fittable(Protocol):
    """A strategy that can learn from observed answers (see the module's text)."""

    name: str
    models: Sequence[Any]
    state: str
    learned: Learned | None

    def fit(self, observed: Observed, *, seed: int = 0) -> Any:
        """The same strategy, fitted on observed answers of its models."""

    def replay(self, observed: Observed) -> Replay:
        """What it would have done on observed answers."""


S = TypeVar("S")


def with_learned(strategy: S, learned: Learned) -> S:
    """A copy of `strategy` that has learned; `strategy` itself stays as it is."""
    made = copy.copy(strategy)
    made.learned = learned  # type: ignore[attr-defined]
    return made


def learned_of(strategy: Any, kind: str) -> Learned:
    """What `strategy` has learned, read from its state file at first use. Raises BadParameter where it has not."""
    if strategy.learned is None:
        if not strategy.state:
            hint = "run `consort fit PLAN OUT --task TASK`, or fit(observed) in Python"
            raise BadParameter("is not fitted", field=kind, hint=hint)
        strategy.learned = load_learned(strategy.state)
    learned: Learned = strategy.learned
    if learned.kind != kind:
        raise BadData(f"is the state of {learned.kind}, not of {kind}", field=strategy.state, hint="fit the plan again")
    return learned


def save_learned(learned: Learned, path: Path) -> None:
    """Write a state, whole or not at all: safetensors where it has arrays, else JSON."""
    head = {"format": FORMAT, "kind": learned.kind, "values": dict(learned.values)}
    if not learned.arrays:
        write_json(path, head)
        return
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in learned.arrays.items()}
    with whole_file(path) as file:
        file.write(save(arrays, {HEADER: json.dumps(head, ensure_ascii=False, allow_nan=False)}))


def load_learned(path: str | Path) -> Learned:
    """Read a state. Raises BadData for a file that is missing, damaged, or none of consort's."""
    file = Path(path)
    if not file.is_file():
        raise BadData("no such state file", field=str(path), hint="it lies beside the plan that `consort fit` wrote")
    arrays: dict[str, np.ndarray] = {}
    try:
        if file.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(file, framework="numpy") as opened:
                head = json.loads((opened.metadata() or {})[HEADER])
                arrays = {name: opened.get_tensor(name) for name in opened.keys()}
        else:
            head = json.loads(file.read_text("utf-8"))
        if head["format"] != FORMAT:
            raise BadData(f"has format {head['format']}", field=str(path), hint=f"this consort reads format {FORMAT}")
        return Learned(str(head["kind"]), arrays, dict(head["values"]))
    except BadData:
        raise
    except Exception as fault:
        # the safetensors library has an error class of its own for each fault of a file
        raise BadData(f"is no state: {type(fault).__name__}", field=str(path), hint="fit the plan again") from None


@dataclass(frozen=True, slots=True)
class Fitted:
    """The outcome of `fit_gated`: the strategy that is to be used, and the decision that it rests on.

    `strategy` is None where the gate did not let the candidate pass: then `single`, the number of the model that was
    best on the held-out part, is to be used. `lower` is the lower 90 % bound of the difference (strict rule). `told` is
    what a strategy that tests itself says of its test.
    """

    strategy: Any
    single: int
    decision: Decision
    lower: float
    fit_count: int
    told: Mapping[str, Any] = field(default_factory=dict)


def fit_gated(strategy: Any, observed: Observed, *, seed: int = 0, rule: Rule = "mean") -> Fitted:
    """Fit on one half of `observed`; keep the strategy only if it is not worse than the best single on the other.

    "mean": its held-out mean is at least that of the single model that is best there; "strict": the lower bound of the
    90 % paired interval of the difference is at least 0 as well. A strategy that tests itself by cross-fitting (it has
    `tested`) learns from all of `observed`, and decides by its own rule.
    """
    if hasattr(strategy, "tested"):
        return _by_own_test(strategy, observed, seed)
    fit, held_out = observed.known().fit_and_held_out(seed)
    fitted = strategy.fit(fit, seed=seed)
    replayed = fitted.replay(held_out).quality
    rows = np.flatnonzero(~np.isnan(held_out.quality).any(1) & ~np.isnan(replayed))
    if not len(rows):
        raise BadData("no held-out query has the quality of all models", field="quality", hint="give more queries")
    held_out, replayed = held_out.rows(rows), replayed[rows]
    single = held_out.best
    candidate = _as_result(strategy.name, replayed, held_out)
    fallback = _as_result(held_out.models[single], held_out.quality[:, single], held_out)
    decision = gate(candidate, fallback, seed=seed)
    lower = lower_bound(replayed, held_out.quality[:, single], seed=seed)
    kept = decision.kept and (rule == "mean" or lower >= 0)
    if decision.kept and not kept:
        import dataclasses

        decision = dataclasses.replace(decision, kept=False)
    return Fitted(fitted if kept else None, single, decision, lower, len(fit))


def _by_own_test(strategy: Any, observed: Observed, seed: int) -> Fitted:
    """What the strategy's own test decides; compared on queries that neither it nor the best single has seen."""
    import dataclasses

    observed = observed.known()
    own = strategy.tested(observed, seed)
    rows = np.flatnonzero(~np.isnan(own.quality) & ~np.isnan(own.single_quality))
    if not len(rows):
        raise BadData("no query has the quality of the models chosen", field="quality", hint="give more queries")
    ours, theirs = own.quality[rows], own.single_quality[rows]
    judged = observed.rows(rows)
    single = observed.named(strategy.labels).models[own.single]
    decision = gate(_as_result(strategy.name, ours, judged), _as_result(single, theirs, judged), seed=seed)
    decision = dataclasses.replace(decision, kept=own.strategy is not None)
    return Fitted(own.strategy, own.single, decision, lower_bound(ours, theirs, seed=seed), len(observed), own.told)


def lower_bound(
    ours: Float[np.ndarray, " n"], theirs: Float[np.ndarray, " n"], *, level: float = 0.9, seed: int = 0
) -> float:
    """The lower end of the central `level` interval of the mean difference, the same as reports show.

    >>> lower_bound(np.ones(3), np.zeros(3)) < 1  # three queries are no certainty
    True
    """
    from consort.evaluate.bootstrap import difference_interval, range_of_means, replicates_of
    from consort.evaluate.registry import ratio
    from consort.evaluate.result import aggregate_of

    rows = [np.stack([quality, np.ones_like(quality)], axis=1) for quality in (ours, theirs)]
    span, drawn = aggregate_of("quality").span, np.empty(0)
    if range_of_means(rows[0], rows[1], ratio, span) is None:
        first, second = replicates_of([(table, ratio) for table in rows], seed=seed)
        drawn = first - second
    return difference_interval(rows[0], rows[1], ratio, drawn, span, level=level)[0]


def _as_result(name: str, quality: Float[np.ndarray, " n"], held_out: Observed) -> Result:
    mean = float(quality.mean())
    rows = tuple((float(q), 1.0) for q in quality)
    return Result(name, "observed", "held_out", "quality", mean, (mean, mean), rows, examples_key=str(len(held_out)))
