"""Candidates as expressions, each scored at most once, journalled so that a killed run continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.journal import Journal, key_of
from consort.core.progress import Advance
from consort.data import Task
from consort.evaluate import Result, evaluate
from consort.evaluate.measure import check_lengths
from consort.evaluate.registry import find_metric
from consort.plan.build import Builder
from consort.plan.expression import Reference, beside, parse
from consort.plan.references import has_weights

Expression = dict[str, Any]


class BudgetSpent(Exception):
    """No trial is left; what was found so far stands."""


def is_record(record: Mapping[str, Any]) -> bool:
    """Whether a line of the journal is one that `Trials` wrote."""
    if not isinstance(record.get("key"), str):
        return False
    if "fault" in record:
        return isinstance(record["fault"], str)
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
        advance: Advance,
    ) -> None:
        self.task, self.builder, self.journal = task, builder, journal
        self.budget, self.seed, self.advance = budget, seed, advance
        self.limit = budget
        self.candidates: dict[str, Candidate] = {}
        self._known = {record["key"]: record for record in records}
        self._live: Any = None
        self._loaded: Any = None
        self._form: Any = None

    def trial(self, name: str, expression: Expression) -> float:
        """The score of a candidate on the fit examples, -inf where it cannot be made. Raises BudgetSpent."""
        key = key_of(expression)
        if key not in self.candidates:
            if len(self.candidates) >= self.limit:
                raise BudgetSpent
            self.candidates[key] = self._try(name, expression)
            self.advance(1)
        fit = self.candidates[key].fit
        return float("-inf") if fit is None else fit

    def result(self, name: str, expression: Any, split: str) -> Result:
        """What `expression` scores on a split of the task; remembered."""
        key = key_of([expression, split])
        if key not in self._known:
            model = self.model(expression)
            keep = split == "test" or isinstance(expression, str)
            found = evaluate(model, self.task, split=split, seed=self.seed, keep_answers=keep)
            self._remember({"key": key, "result": found.to_json()})
        return replace(Result.from_json(self._known[key]["result"]), model=name)

    def admit(self, name: str, reference: str) -> Result:
        """What a single model scores on fit. Raises ConsortError where it cannot be run on some example of the task.

        The others are not asked yet; it is seen that they fit into the model's window.
        """
        if key_of([reference, "fit"]) not in self._known:
            model, metric = self.model(reference), find_metric(self.task.metric)
            for split in ("fit", "held_out", "test"):
                check_lengths(model, self.task.split(split, seed=self.seed), metric)
        return self.result(name, reference, "fit")

    def enter(self, candidate: Candidate) -> None:
        """A candidate whose score is known without a trial."""
        self.candidates[key_of(candidate.expression)] = candidate

    def _try(self, name: str, expression: Expression) -> Candidate:
        key = key_of([expression, "fit"])
        if "fault" not in self._known.get(key, {}):
            try:
                return Candidate(name, expression, self.result(name, expression, "fit").score)
            except EnvironmentFailure:
                raise  # nothing that the candidate is to blame for
            except ConsortError as error:
                self._remember({"key": key, "fault": str(error)})
        return Candidate(name, expression, None, self._known[key]["fault"])

    def _remember(self, record: dict[str, Any]) -> None:
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
