"""Candidates as expressions, each scored at most once, journalled so that a killed run continues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.files import sha256_of
from consort.core.journal import Journal, key_of
from consort.core.progress import Watch
from consort.data import Task
from consort.evaluate import Result, evaluate
from consort.evaluate.measure import check_lengths
from consort.evaluate.registry import find_metric
from consort.plan.build import Builder
from consort.plan.expression import Reference, beside, parse
from consort.plan.references import has_weights
from consort.runs.hours import Hours
from consort.runs.tariff import Tariff

Expression = dict[str, Any]
STATE = "state"
"""The argument of a strategy that names the file of what it learned."""
SPENT = "spent_s"
"""In a record: the seconds that the run had taken by then."""


class BudgetSpent(Exception):
    """No trial is left; what was found so far stands. Its text says what is spent: budget, or hours."""


def is_record(record: Mapping[str, Any]) -> bool:
    """Whether a line of the journal is one that `Trials` wrote."""
    if not isinstance(record.get("key"), str) or not isinstance(record.get(SPENT, 0.0), int | float):
        return False
    for name in ("fault", "content"):
        if name in record:
            return isinstance(record[name], str)
    try:
        Result.from_json(record.get("result"))
    except ConsortError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Candidate:
    """A combination that was tried; `fit` is its score on the fit examples, None if it could not be made (`note`)."""

    name: str
    expression: Expression
    fit: float | None
    note: str = ""


class Trials:
    """Scores expressions on the parts of a task's dev examples; at most `budget` candidates, for now at most `limit`.

    Candidates of one architecture share one live model whose weights are refilled, rounded as they would be saved.
    `identity` tells what each reference stands for, by its content: a result is known again wherever the expression and
    the content of all that it names are the same. `tariff` tells what answers cost, `hours` bounds the time.
    """

    def __init__(
        self,
        task: Task,
        builder: Builder,
        journal: Journal,
        records: Sequence[Mapping[str, Any]],
        *,
        budget: int,
        seed: int,
        watch: Watch,
        identity: Mapping[str, Any] | None = None,
        hours: Hours | None = None,
    ) -> None:
        self.task, self.builder, self.journal = task, builder, journal
        self.budget, self.seed, self.watch = budget, seed, watch
        self.identity = dict(identity or {})
        self.limit = budget
        self.tariff = Tariff()
        self.hours = Hours() if hours is None else hours
        self.candidates: dict[str, Candidate] = {}
        self._known = {record["key"]: record for record in records}
        self._remembered = 0
        self._live: Any = None
        self._loaded: Any = None
        self._form: Any = None

    def trial(self, name: str, expression: Expression) -> float:
        """The score of a candidate on the fit examples, -inf where it cannot be made. Raises BudgetSpent."""
        key = key_of(expression)
        if key not in self.candidates:
            if len(self.candidates) >= self.limit:
                raise BudgetSpent("budget")
            remembered = self.knows(expression, "fit")
            if not remembered and not self.hours.fits:
                raise BudgetSpent("hours")
            self._remembered += remembered
            self.candidates[key] = self._try(name, expression)
            if (fit := self.candidates[key].fit) is not None:
                self.watch.found(name, fit)
            self.watch.tell(len(self.candidates), known=self._remembered)
        fit = self.candidates[key].fit
        return float("-inf") if fit is None else fit

    def knows(self, expression: Any, split: str) -> bool:
        """Whether it is known what `expression` does there, so that it takes no time."""
        return self.key(expression, split) in self._known

    def begins(self, stage: str) -> bool:
        """Whether a stage fits into the time, or has been begun before and goes on with what is known."""
        key = key_of(["stage", stage])
        if key in self._known or self.hours.limit is None:
            return True
        if not self.hours.fits:
            return False
        self._remember({"key": key, "name": stage, "content": "begun"})
        return True

    def key(self, expression: Any, split: str) -> str:
        """What a result is remembered by: the expression, what it refers to, what it learned, and the split."""
        used = {
            reference: self.identity[reference] for reference in sorted(set(_texts(expression)) & set(self.identity))
        }
        return key_of([expression, split, used, self._learned(expression)])

    def _learned(self, expression: Any) -> list[str]:
        """Hashes of the files of what the strategies of an expression learned, as far as they are written."""
        files = [self.journal.folder / name for name in _states(expression)]
        return [sha256_of(file) for file in files if file.is_file()]

    def result(self, name: str, expression: Any, split: str) -> Result:
        """What `expression` scores on a split of the task; remembered."""
        return self._result(name, expression, split, self.key(expression, split), expression)

    def answered(self, name: str, expression: Any, split: str) -> Result:
        """The same with its answers, for which it is asked once more where they were not kept."""
        key = self.key(expression, split)
        if not self._known.get(key, {}).get("result", {}).get("answers"):
            self._measure(name, expression, split, key, expression, keep=True)
        return self.result(name, expression, split)

    def saved(self, name: str, plan: Any, folder: Path, split: str) -> Result:
        """What the folder that was made by `plan` scores; remembered by the plan, for the folder is written anew."""
        return self._result(name, str(folder), split, self.key({"saved": plan}, split), plan)

    def _result(self, name: str, expression: Any, split: str, key: str, told: Any) -> Result:
        if key not in self._known:
            keep = split == "test" or isinstance(expression, str)
            self._measure(name, expression, split, key, told, keep=keep)
        return replace(Result.from_json(self._known[key]["result"]), model=name)

    def _measure(self, name: str, expression: Any, split: str, key: str, told: Any, *, keep: bool) -> None:
        found = evaluate(self.model(expression), self.task, split=split, seed=self.seed, keep_answers=keep)
        self._remember({"key": key, "name": name, "plan": told, "result": found.to_json()})

    def admit(self, name: str, reference: str) -> Result:
        """What a single model scores on fit. Raises ConsortError where it cannot be run on some example of the task.

        The others are not asked yet; it is seen that they fit into the model's window.
        """
        if self.key(reference, "fit") not in self._known:
            model, metric = self.model(reference), find_metric(self.task.metric)
            for split in ("fit", "held_out", "test"):
                check_lengths(model, self.task.split(split, seed=self.seed), metric)
        found = self.result(name, reference, "fit")
        self.watch.found(name, found.score)
        return found

    def content(self, reference: str, checkpoint: Any) -> str:
        """The hash of a model's weights (`weights.content`), computed once and remembered."""
        from consort.weights.content import content_hash

        key = key_of(["content", self.identity.get(reference, reference)])
        if key not in self._known:
            self._remember({"key": key, "name": reference, "content": content_hash(checkpoint)})
        return str(self._known[key]["content"])

    def enter(self, candidate: Candidate) -> None:
        """A candidate whose score is known without a trial."""
        self.candidates[key_of(candidate.expression)] = candidate

    def _try(self, name: str, expression: Expression) -> Candidate:
        key = self.key(expression, "fit")
        if "fault" not in self._known.get(key, {}):
            try:
                return Candidate(name, expression, self.result(name, expression, "fit").score)
            except EnvironmentFailure:
                raise  # nothing that the candidate is to blame for
            except ConsortError as error:
                self._remember({"key": key, "name": name, "plan": expression, "fault": str(error)})
        return Candidate(name, expression, None, self._known[key]["fault"])

    def _remember(self, record: dict[str, Any]) -> None:
        record |= {SPENT: round(self.hours.spent_s, 3)}
        self.journal.append(record)
        self._known[record["key"]] = record

    def model(self, expression: Any) -> Any:
        """What `expression` describes, to be used until the next is asked for.

        That is the live model with these weights, a new one where shapes, config or tokenizer differ. What is no set of
        weights (a strategy, an endpoint, cached answers) is built as it is.
        """
        from consort.models import load_model

        root = beside(self.journal.folder, parse(expression)).root
        if root.produces != "checkpoint" or (isinstance(root, Reference) and not has_weights(root.text)):
            return self.builder.build(root, "model")
        checkpoint = self.builder.build(root, "checkpoint")
        if checkpoint is self._loaded:
            return self._live
        self._loaded = None
        form = [(n, checkpoint.spec(n).shape) for n in checkpoint.keys()], dict(checkpoint.config), checkpoint.files()
        if self._live is None or form != self._form:
            self._live, self._form = load_model(checkpoint), form
        else:
            self._live.load_weights(checkpoint)
            self._live.name = checkpoint.name  # costs are told under the name of the model that is asked
        self._loaded = checkpoint
        return self._live


def _texts(expression: Any) -> Iterator[str]:
    """Every string in an expression: references among them."""
    if isinstance(expression, str):
        yield expression
    elif isinstance(expression, Mapping):
        for value in expression.values():
            yield from _texts(value)
    elif isinstance(expression, list | tuple):
        for value in expression:
            yield from _texts(value)


def _states(expression: Any) -> Iterator[str]:
    """The files that an expression's strategies learned into."""
    if isinstance(expression, Mapping):
        for name, value in expression.items():
            if name == STATE and isinstance(value, str):
                yield value
            else:
                yield from _states(value)
    elif isinstance(expression, list | tuple):
        for value in expression:
            yield from _states(value)
