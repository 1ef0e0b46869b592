"""What a run of `auto` will try, said before it begins, with a rough estimate of time and memory.

Nothing is run: sizes come from headers, lengths from the tokenizer and the task, the machine's speed from a product of
matrices that takes a few milliseconds. Time is that of one pass over each prompt and one step for each new token; what
a model writes may be shorter, so it is an upper estimate for answers that end early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

from consort.core.counted import counted
from consort.core.progress import span
from consort.data import Task
from consort.evaluate.measure import prompt_of
from consort.evaluate.registry import find_metric
from consort.recipes.auto.given import NOTHING, Given, open_given
from consort.recipes.auto.inputs import STAGES, open_inputs
from consort.recipes.auto.stage import Pool, Stage
from consort.runs.aim import Aim, Maximize
from consort.runs.hours import Hours
from consort.runs.pool import Family, Member, families
from consort.runs.tariff import check_rates

SAMPLED = 32
"""Prompts that are read to know their lengths."""
BATCH = 64
LAYER_S, EXAMPLE_S, TRIAL_S = 1e-4, 4e-3, 0.1
"""Seconds on one core that do not depend on a model's size: of a layer in a step, of an example, of making a trial."""
COPY_BYTES_S = 1.5e9
"""Bytes of weights a second that a merge reads, adds and writes."""
CHARACTERS = 4.0
"""Of one token, where no tokenizer tells."""
OF_KIN = ("merging", "model_glue")
"""Stages that try nothing where no two models are of one family."""
ASKING = {stage.name for stage in STAGES if stage.passes}
"""Stages that ask models."""
TEAM = 3
"""Members of a token ensemble at most, which are in memory together."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One part of a run: what is tried, with how many trials at most, and how long they take (None: not known)."""

    name: str
    tries: str
    trials: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything that will be tried. `bytes` is the most memory that models take at once."""

    models: tuple[str, ...]
    families: tuple[tuple[str, ...], ...]
    base: tuple[str | None, ...]
    examples: dict[str, int]
    parts: tuple[Foreseen, ...]
    seconds: float | None
    bytes: int | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """The same for people, one line a part."""
        sizes = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in self.examples.items())
        together = counted(len(self.families), "family", "families")
        found = [f"{counted(len(self.models), 'model')} in {together}; examples: {sizes}"]
        idle = [part.name for part in self.parts if part.name in ASKING and not part.trials]
        for part in (part for part in self.parts if part.name not in idle):
            took = "" if part.seconds is None else f", at most about {span(part.seconds)}"
            amount = f"at most {counted(part.trials, 'trial')}" if part.trials else "no trial"
            found.append(f"{part.name}: {part.tries} ({amount}{took})")
        if idle:
            found.append(f"no trials are kept for: {', '.join(idle)}")
        time = "not known" if self.seconds is None else f"at most about {span(self.seconds)}"
        memory = "not known" if self.bytes is None else f"about {self.bytes / 1e9:.2g} GB"
        return [*found, f"in all: time {time} (rough), memory of models {memory}", *self.notes]


def outlook(
    models: Sequence[str],
    *,
    task: str | Path | Task,
    base: str | None = None,
    budget: int,
    docs: str | Path | None = None,
    train: str | Path | None = None,
    maximize: Maximize = "quality",
    max_cost: float | None = None,
    max_latency: float | None = None,
    price: Mapping[str, float] | None = None,
    hours: float | None = None,
    seed: int = 0,
    allow_remote_code: bool = False,
    allow_task_code: bool = False,
) -> Outlook:
    """What `auto` would try with these arguments. Raises ConsortError for what it would refuse; writes nothing."""
    aim, bound = Aim(maximize, max_cost, max_latency), Hours(hours).limit
    loaded, members, _ = open_inputs(models, task, base, budget, seed, allow_remote_code, allow_task_code)
    aim.check(loaded)
    check_rates(members, price or {})
    asked: dict[str, Any] = {"base": base, "budget": budget, "seed": seed, "hours": bound}
    return ahead(members, loaded, given=open_given(loaded, docs, train), **asked)


def ahead(
    members: Sequence[Member],
    task: Task,
    *,
    base: str | None,
    budget: int,
    seed: int,
    hours: float | None = None,
    given: Given = NOTHING,
) -> Outlook:
    """The outlook of members that are open already."""
    groups, reasons = families(members, base)
    fit, held_out = task.fit_and_held_out(seed)
    examples = {"fit": len(fit), "held_out": len(held_out), "test": len(task.test)}
    cost = _Cost(task, _Speed())
    whole = sum(examples.values())
    singles = _sum([cost.seconds(m, whole) for m in members])
    parts = [Foreseen("single models", "each on fit, held-out and test examples", 0, singles)]
    known_of = SimpleNamespace(budget=budget, task=task, seed=seed)
    pool = cast(Pool, SimpleNamespace(trials=known_of, inputs=members, families=groups, given=given))
    parts += [_part(stage, share, members, groups, cost, len(fit)) for stage, share in _shares(pool, budget)]
    winner = [cost.seconds(m, len(held_out) + 2 * len(task.test)) for m in members]
    known = [one for one in winner if one is not None]
    last = "the best on held-out and test, the winner written"
    parts.append(Foreseen("the end", last, 0, max(known, default=None)))
    whole_s = _sum([part.seconds for part in parts])
    sizes = sorted((4 * m.parameters for m in members if m.parameters), reverse=True)
    return Outlook(
        tuple(m.label for m in members),
        tuple(tuple(m.label for m in group.members) for group in groups),
        tuple(group.base.label if group.base else None for group in groups),
        examples,
        tuple(parts),
        whole_s,
        sum(sizes[:TEAM]) + sizes[0] if sizes else None,
        (*reasons, *_bounded(whole_s, hours)),
    )


def _bounded(seconds: float | None, hours: float | None) -> list[str]:
    """What there is to say of a bound of time."""
    if hours is None or (seconds is not None and seconds <= 3600 * hours):
        return []
    return [f"--hours {hours:g}: what does not fit into {span(3600 * hours)} is not begun, and told"]


def _shares(pool: Pool, budget: int) -> list[tuple[Stage, int]]:
    """The stages and the most trials that each may take."""
    needs = [stage.needs(pool) for stage in STAGES]
    return [(stage, needs[i] or max(0, budget - sum(needs)) if i == 0 else needs[i]) for i, stage in enumerate(STAGES)]


def _part(
    stage: Stage, share: int, members: Sequence[Member], groups: Sequence[Family], cost: _Cost, count: int
) -> Foreseen:
    """A stage's trials, each as dear as the dearest model; a team's as that of so many."""
    merged = [m for group in groups if len(group.members) > 1 for m in group.members]
    tries = stage.tries
    if share and not merged and stage.name in OF_KIN:
        return Foreseen(stage.name, tries, 0, 0.0)
    each = [cost.trial(m, count, len(merged)) for m in (merged or members)]
    known = [one for one in each if one is not None]
    seconds = None if not known and share else share * stage.passes * max(known, default=0.0)
    return Foreseen(stage.name, tries, share, seconds)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


class _Speed:
    """How fast this machine multiplies matrices in float32, in operations a second; measured once."""

    def __init__(self) -> None:
        import torch

        left, right = torch.ones(BATCH, 512), torch.ones(512, 512)
        best = float("inf")
        for _ in range(5):
            begun = perf_counter()
            for _ in range(4):
                left @ right
            best = min(best, (perf_counter() - begun) / 4)
        self.operations_s = 2 * BATCH * 512 * 512 / max(best, 1e-9)


class _Cost:
    """What asking a model about examples takes."""

    def __init__(self, task: Task, speed: _Speed) -> None:
        self.task, self.speed = task, speed
        self.asks = "generate" if ":" in task.metric else find_metric(task.metric, task.metric_options).asks
        sampled = [prompt_of(e) if e.text is None else e.text for e in task.dev[:SAMPLED]]
        texts = [p if isinstance(p, str) else "\n".join(m["content"] for m in p) for p in sampled]
        self.texts = texts

    def seconds(self, member: Member, count: int) -> float | None:
        """Seconds for `count` examples; None for an endpoint, 0 for cached answers."""
        if member.checkpoint is None:
            return 0.0 if member.reference.startswith("table:") else None
        parameters, layers = member.parameters or 0, int(member.checkpoint.config.get("num_hidden_layers", 24) or 24)
        read = self._tokens(member) * (len(self.task.dev[0].choices) or 1 if self.asks == "score" else 1)
        new = self.task.options.max_tokens if self.asks in ("generate", "completion") else 0
        work = 2 * parameters * (read + new) * count / self.speed.operations_s
        steps = (1 + new) * -(-count // BATCH)
        return work + steps * layers * LAYER_S + count * EXAMPLE_S

    def trial(self, member: Member, count: int, merged: int) -> float | None:
        """The same for a merge of `merged` models, which is made first."""
        seconds = self.seconds(member, count)
        making = 4 * (member.parameters or 0) * (merged + 1) / COPY_BYTES_S
        return None if seconds is None else seconds + making + TRIAL_S

    def _tokens(self, member: Member) -> float:
        """The mean length of a prompt, by the model's own tokenizer where it has one that can be read."""
        from consort.core.errors import ConsortError
        from consort.models.hf.loading import own_tokenizer

        assert member.checkpoint is not None
        try:
            tokenizer = own_tokenizer(member.checkpoint)
            lengths = [len(tokenizer.encode(text)) for text in self.texts]
        except ConsortError:
            lengths = [round(len(text) / CHARACTERS) for text in self.texts]
        return sum(lengths) / max(1, len(lengths))
