"""What a fit works with and what it ends with: the strategy or the single model in its place, written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.files import write_atomic
from consort.core.journal import key_of, provenance
from consort.core.results import write_results
from consort.data import Task
from consort.ensemble.learning.fitting import Fitted, Rule, save_learned
from consort.evaluate import Decision, Result
from consort.models.cost import distinct
from consort.plan.expression import Call, Node, Plan, dump
from consort.runs.folder import PLAN_FILE, REPORT_FILE, plan_text
from consort.runs.results import told_examples, told_task
from consort.runs.sources import sources_of
from consort.weights import describe
from consort.weights.checkpoint import Checkpoint, leaves
from consort.weights.content import content_hash
from consort.weights.stats import fingerprint


@dataclass(frozen=True, slots=True)
class Outcome:
    """`report` tells what the gate compared; `kept` whether the strategy is used, or the single model in its place."""

    folder: Path
    kept: bool
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Input:
    """A member of the strategy: its name among them, what tells its content, and the weights under it."""

    name: str
    identity: str
    sources: tuple[Checkpoint, ...]

    def described(self) -> dict[str, Any]:
        """What identifies it, with the hash of its weights, for provenance."""
        found = [leaf for source in self.sources for leaf in leaves(source)]
        if not found:
            return {"name": self.name}
        hashes = [content_hash(leaf) for leaf in found]
        whole = hashes[0] if len(hashes) == 1 else key_of(hashes)
        return {**describe(found[0]), "name": self.name, "weights_sha256": whole}


@dataclass(frozen=True, slots=True)
class Work:
    """A fit about to be done: the plan, its strategy, the examples, and the rule of the gate."""

    plan: Plan
    strategy: Any
    task: Task
    source: str
    rule: Rule
    seed: int
    members: tuple[Input, ...]

    @property
    def about(self) -> dict[str, Any]:
        """What the journal's first line says of the run."""
        inputs = {member.name: member.identity for member in self.members}
        told = {"verb": "fit", "task": told_task(self.task), "seed": self.seed, "rule": self.rule, "data": self.source}
        return {**told, "plan": dump(self.plan.root), "inputs": inputs}


def members_of(root: Node, strategy: Any) -> tuple[Input, ...]:
    """The members of a strategy, in their order."""
    found = []
    for number, name in enumerate(distinct([model.name for model in strategy.models])):
        sources = tuple(sources_of(strategy.models[number]))
        told = [dump(node_of(root, strategy, number)), [fingerprint(leaf) for c in sources for leaf in leaves(c)]]
        found.append(Input(name, key_of(told), sources))
    return tuple(found)


def node_of(root: Node, strategy: Any, number: int) -> Node:
    """The node of one of the root's models, by its place among them."""
    nodes: list[Node] = []
    for value in root.arguments.values() if isinstance(root, Call) else ():
        nodes += [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Node)]
    models: Sequence[Any] = strategy.models
    place = strategy.place(number) if hasattr(strategy, "place") else number
    return nodes[place] if number < len(models) else root


def written(work: Work, folder: Path, fitted: Fitted, results: Sequence[Result], notes: Sequence[str]) -> Outcome:
    """Write state, plan, results and report."""
    from consort.report import write_report

    root, state, kept = node_of(work.plan.root, work.strategy, fitted.single), None, fitted.strategy is not None
    if fitted.strategy is not None:
        learned = fitted.strategy.learned
        state = learned.file_name
        save_learned(learned, folder / state)
        arguments = {**work.plan.root.arguments, "state": state}  # type: ignore[union-attr]
        root = replace(work.plan.root, arguments=arguments)  # type: ignore[arg-type]
    told = {
        "kept": kept,
        "rule": work.rule,
        "lower_bound_90": fitted.lower,
        "fit_examples": fitted.fit_count,
        "held_out_examples": fitted.decision.count,
        "data": work.source,
        "state": state,
        **({"choice": dict(fitted.told)} if fitted.told else {}),
    }
    content = {**_content(work, fitted, dump(root), results), "notes": list(notes), "details": {"fit": told}}
    write_results(folder, "fit", content)
    write_atomic(folder / PLAN_FILE, plan_text(dump(root), work.plan.seed))
    write_report(folder, folder / REPORT_FILE)
    return Outcome(folder, kept, {**told, "decision": fitted.decision.to_json()})


def written_beside_its_model(
    folder: Path, plan: Plan, task: Task, single: Result, decision: Decision, told: dict[str, Any], *, seed: int
) -> dict[str, Any]:
    """Write plan and results of a strategy that was compared with its own model on held-out examples; returns both."""
    name, kind = (decision.candidate, "team") if decision.kept else (decision.fallback, "single")
    content = {
        "task": told_task(task, fit=told["fit_examples"], held_out=decision.count),
        "seed": seed,
        "singles": [single.to_json()],
        "decision": decision.to_json(),
        "winner": {"name": name, "kind": kind, "plan": dump(plan.root), "path": PLAN_FILE},
        "details": {"fit": told},
    }
    write_results(folder, "fit", content)
    write_atomic(folder / PLAN_FILE, plan_text(dump(plan.root), plan.seed))
    return {**told, "decision": decision.to_json()}


def _content(work: Work, fitted: Fitted, plan: Any, results: Sequence[Result]) -> dict[str, Any]:
    """The content of results.json but notes and details."""
    decision, kept = fitted.decision, fitted.strategy is not None
    candidate = {
        "name": decision.candidate,
        "method": str(getattr(work.plan.root, "name", "")),
        "plan": dump(work.plan.root),
        "held_out": decision.candidate_score,
        "status": "kept" if kept else "rejected",
    }
    named = [replace(result, model=member.name) for result, member in zip(results, work.members, strict=False)]
    name, kind = (decision.candidate, "team") if kept else (decision.fallback, "single")
    described = [member.described() for member in work.members]
    return {
        "task": told_task(work.task, fit=fitted.fit_count, held_out=decision.count),
        "seed": work.seed,
        "singles": [result.to_json() for result in named],
        "candidates": [candidate],
        "decision": decision.to_json(),
        "winner": {"name": name, "kind": kind, "plan": plan, "path": PLAN_FILE},
        "examples": {"dev": told_examples(work.task.split("dev", seed=work.seed))} if results else {},
        "provenance": provenance(plan=dump(work.plan.root), inputs=described, seed=work.seed),
    }
