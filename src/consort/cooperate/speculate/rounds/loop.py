"""The rounds of speculative decoding over a ragged batch: propose, read, verify, step back, emit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan

import torch
from jaxtyping import Float
from torch import Tensor

from consort.cooperate.speculate.drafters.base import DraftSession, Start
from consort.cooperate.speculate.drafters.draft import Draft, depth_of, parents_of
from consort.cooperate.speculate.rounds.controller import Controller
from consort.cooperate.speculate.rounds.costs import Costs
from consort.cooperate.speculate.rounds.pipeline import Pipeline, Prefix
from consort.cooperate.speculate.rounds.rows import Row
from consort.cooperate.speculate.rounds.state import Work
from consort.cooperate.speculate.rounds.verdicts import logprobs_of, verdicts_of
from consort.cooperate.speculate.rounds.verify import Verdict, emitted_by
from consort.core.errors import BadCheckpoint
from consort.core.types import Usage
from consort.models.abilities import able
from consort.models.base import Session
from consort.models.cost import joined
from consort.models.decoding.decode import cancel_if_asked, notes_of
from consort.models.decoding.sampling import uniform
from consort.models.token_model import TokenModel

_SHRINK = 0.75
"""Finished rows leave a batch once at most this share of it still runs, as in plain decoding."""

_TIMED, _AGAIN = 3, 32
"""Plain steps that are timed before the first draft, and rounds after which one more is."""

_UNTIMED = 15
"""Plain steps between two that are timed while nothing is drafted: a clock and a decision cost a small model 2 %."""

Add = Callable[[Row, int, float], None]
"""Enters a token and its log-probability into a row, and sets `finish` if that was the last."""


@dataclass(slots=True)
class Run:
    """One batch on its way. `held` are the rows in the session; a finished one waits there until it may leave."""

    work: Work
    owner: TokenModel
    pipeline: Pipeline
    add: Add
    held: list[Row]
    session: Session
    drafter: DraftSession
    unseen: list[list[int]] = field(default_factory=list)
    started: bool = False
    drafted_last: bool = False
    since_plain: int = 0
    width: int = 0
    resting: int = 0
    """Plain steps to come before anybody is asked for a draft."""
    counts: list[tuple[Controller, int, int, int, int]] = field(default_factory=list)
    """What the last round is to be recorded as once its cost is known: proposed, accepted, tested and emitted."""

    def first(self) -> None:
        """Read the prompts, and draw one token of each row."""
        logits = self.session.feed([row.prompt for row in self.held], last=True)
        self.width = logits[0].shape[-1]
        self._plain(torch.cat(logits), self.held)
        self.unseen = [list(row.tokens) for row in self.held]

    def round(self) -> None:
        """One round of every running row."""
        if self.resting:
            self.resting -= 1
            self._go(None)
            return
        gammas = [0 if row.finish else min(self._gamma(row), row.room) for row in self.held]
        if self.work.clock is None:
            self._go(self._propose(gammas) if any(gammas) else None)
            return
        running = [row for row in self.held if not row.finish]
        cost, going_on = self._timed(gammas, self.work.clock)
        for row in running:
            row.tally.cost += cost
        for controller, proposed, accepted, tested, emitted in self.counts:
            controller.record(proposed, accepted, tested, emitted, going_on)
        self.counts.clear()
        self.resting = self._rest()

    def _rest(self) -> int:
        """For how many rounds nobody need be asked or timed, since all rows wait: they are plain decoding's steps."""
        waits = [row.controller.left for row in self.held if not row.finish and row.controller is not None]
        return min(*waits, _UNTIMED) if waits and min(waits) > 0 else 0

    def _timed(self, gammas: Sequence[int], clock: Callable[[], float]) -> tuple[float, float]:
        """A round whose times are entered; its cost in plain steps, and that of one that only goes on drafting."""
        costs = self.work.costs.setdefault(len(self.held), Costs())
        if not any(gammas) or self._must_time(costs):
            begun = clock()
            self._go(None)
            costs.stepped(clock() - begun)
            self.drafted_last, self.since_plain = False, 0
            return 0.0, 1.0
        begun = clock()
        drafts = self._propose(gammas)
        drafted = clock()
        depth = max(map(depth_of, drafts))
        self._go(drafts if depth else None)
        if not depth:  # a plain step, which counts itself
            return (drafted - begun) / costs.step, 1.0
        verified, before = clock() - drafted, drafted - begun
        costs.verified(verified, depth)
        first, self.drafted_last, self.since_plain = not self.drafted_last, True, self.since_plain + 1
        cost = (before + verified) / costs.step
        if first:  # the draft had to read what came before
            return cost, min(cost, verified / costs.step + depth * costs.c)
        costs.drafted(before, depth)
        return cost, cost

    def _gamma(self, row: Row) -> int:
        return self.work.gamma if row.controller is None else row.controller.choose()

    def _must_time(self, costs: Costs) -> bool:
        return len(costs.plain) < _TIMED or self.since_plain >= _AGAIN or costs.step <= 0

    def _propose(self, gammas: Sequence[int]) -> list[Draft]:
        if not self.started:
            self.drafter.start([Start(row.prompt, row.key) for row in self.held], self.pipeline, self.width)
            self.started = True
        self.drafter.observe(self.unseen)
        self.unseen = [[] for _ in self.held]
        return self.drafter.propose(gammas)

    def _go(self, drafts: Sequence[Draft] | None) -> None:
        """A target pass over the last token and the draft of each row; without drafts a plain step."""
        if drafts is None:
            logits = self.session.feed([[] if row.finish else row.tokens[-1:] for row in self.held], last=True)
            running = [(i, row) for i, row in enumerate(self.held) if not row.finish]
            self._plain(torch.cat([logits[i] for i, _ in running]), [row for _, row in running])
            for i, row in running:
                self.unseen[i].append(row.tokens[-1])
                row.tally.rounds += 1
                if row.controller is not None:
                    row.controller.passed()
                    row.tally.cost += 1.0
            return
        lengths = [len(row.prompt) + len(row.tokens) - 1 for row in self.held]
        logits = self._read(drafts)
        verdicts = verdicts_of(self.held, drafts, logits, self.pipeline, self.work)
        self._step_back(drafts, verdicts, lengths)
        self._emit(drafts, verdicts, logits)

    def _read(self, drafts: Sequence[Draft]) -> list[Float[Tensor, "new vocab"]]:
        tokens = [[] if row.finish else [row.tokens[-1], *d.tokens] for row, d in zip(self.held, drafts, strict=True)]
        if all(draft.parents is None for draft in drafts):
            return self.session.feed(tokens)
        parents = [[-1, *(p + 1 for p in parents_of(d))] if t else [] for t, d in zip(tokens, drafts, strict=True)]
        return self.session.feed_tree(tokens, parents)  # type: ignore[attr-defined,no-any-return]

    def _step_back(self, drafts: Sequence[Draft], verdicts: Sequence[Verdict | None], lengths: Sequence[int]) -> None:
        if all(draft.parents is None for draft in drafts):
            self.session.rollback([n + 1 + len(v.path) if v else n for n, v in zip(lengths, verdicts, strict=True)])
        else:
            paths = [[0, *(node + 1 for node in v.path)] if v else [] for v in verdicts]
            self.session.keep(paths)  # type: ignore[attr-defined]

    def _plain(self, logits: Float[Tensor, "row vocab"], rows: Sequence[Row]) -> None:
        chosen = self.pipeline.choose(
            logits,
            lambda: [Prefix(row.key, row.prompt, row.tokens) for row in rows],
            lambda: [uniform(row.key, len(row.tokens)) for row in rows],
        )
        logprobs = logits.log_softmax(-1).gather(-1, chosen.unsqueeze(-1)).squeeze(-1).tolist()
        for row, token, logprob in zip(rows, chosen.tolist(), logprobs, strict=True):
            self._enter(row, token, logprob)

    def _enter(self, row: Row, token: int, logprob: float) -> None:
        if isnan(logprob):
            raise BadCheckpoint(
                "gives logits that are not numbers", field=self.work.target.name, hint="look for NaN in its weights"
            )
        self.add(row, token, logprob)

    def _emit(
        self, drafts: Sequence[Draft], verdicts: Sequence[Verdict | None], logits: Sequence[Float[Tensor, "new vocab"]]
    ) -> None:
        logprobs = logprobs_of(drafts, verdicts, logits)
        for i, (row, draft, verdict) in enumerate(zip(self.held, drafts, verdicts, strict=True)):
            if verdict is None:
                continue
            before = len(row.tokens)
            for token, logprob in zip(emitted_by(draft, verdict), logprobs[i], strict=True):
                self._enter(row, token, logprob)
                if row.finish:
                    break
            self.unseen[i] += row.tokens[before:]
            self._count(row, depth_of(draft), verdict, len(row.tokens) - before)

    def _count(self, row: Row, proposed: int, verdict: Verdict, emitted: int) -> None:
        row.tally.add(proposed, len(verdict.path), verdict.tested)
        if row.controller is not None:
            self.counts.append((row.controller, proposed, len(verdict.path), verdict.tested, emitted))

    def leave(self) -> bool:
        """Let finished rows go if they are many enough; whether any row still runs."""
        left = [i for i, row in enumerate(self.held) if not row.finish]
        if len(left) <= _SHRINK * len(self.held):
            self._charge()
        if 0 < len(left) <= _SHRINK * len(self.held):
            self.session = self.session.select(left)
            if self.started:
                self.drafter.select(left)
            self.held, self.unseen = [self.held[i] for i in left], [self.unseen[i] for i in left]
        return bool(left)

    def _charge(self) -> None:
        drafting = self.drafter.spent() if self.started else [[] for _ in self.held]
        notes_by_row = notes_of(self.session, len(self.held))
        for row, cost, notes, drafted in zip(self.held, self.session.spent(), notes_by_row, drafting, strict=True):
            if row.finish:
                row.notes = notes
                self.work.learned = row.controller
                total = joined(self.owner, [(self.work.target, cost), *drafted])
                row.cost = {name: usage for name, usage in total.items() if usage != Usage() and usage.calls}


def rounds(
    work: Work,
    owner: TokenModel,
    rows: Sequence[Row],
    pipeline: Pipeline,
    add: Add,
    cancelled: Callable[[], bool] = bool,
) -> Iterator[None]:
    """Decode until every row is finished; one round between two yields, before each of which `cancelled` is asked."""
    for row in rows:
        row.finish = "" if row.limit else "length"
    held = [row for row in rows if not row.finish]
    if not held or cancel_if_asked(list(held), cancelled):
        return
    session = work.target.open(len(held))
    run = Run(work, owner, pipeline, add, held, session, work.open_drafter(able(session, "tree")))
    if work.clock is not None:
        for row in held:
            row.controller = work.controller(lambda: len(run.held))
    run.first()
    while not cancel_if_asked(list(run.held), cancelled) and run.leave():
        yield
        run.round()
    run.leave()
    yield
