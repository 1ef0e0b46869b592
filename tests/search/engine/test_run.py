"""The loop: budget, cache, journal, resume after any evaluation, racing, workers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from math import inf

import pytest
import torch

from consort.core.errors import BadParameter
from consort.core.journal import Journal
from consort.search.engine.domain import Domain
from consort.search.engine.evaluator import Evaluator, Job, of_function
from consort.search.engine.run import Run, is_record
from consort.search.engine.scores import Outcome, Scores
from consort.search.engine.workers import InProcess, Processes, workers
from consort.search.optimizers.pso import Pso


def bowl(point) -> float:
    return -sum((a - b) ** 2 for a, b in zip(point, (0.2, 0.9, -0.1), strict=True))


def make_bowl():
    return of_function(bowl)


def swarm(points, **options):
    return Pso(points.domain, seed=7, particles=8, iterations=12, **options)


def searched(points, utility, *, racing=False, journal=None, records=(), earlier=None, budget=None, pack=1, **options):
    optimizer = swarm(points, **options)
    run = Run(
        optimizer,
        InProcess(lambda: Evaluator(points, utility)),
        Scores("basis", utility.key),
        pack=pack,
        size=utility.size,
        budget=budget,
        racing=racing,
        journal=journal,
        records=records,
        earlier=earlier,
    )
    return run.run(), optimizer


def opened(folder) -> Journal:
    journal = Journal(folder, "k", sound=is_record)
    journal.open()
    return journal


class Killed(Exception):
    pass


class KilledJournal(Journal):
    left = 0

    def append(self, record):
        super().append(record)
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize("racing", [False, True])
@pytest.mark.parametrize("after", [1, 2, 3, 9, 24])
def test_a_killed_run_goes_on_bit_for_bit(points, near, tmp_path, after, racing):
    whole, first = searched(points, near, racing=racing, journal=opened(tmp_path / "a"), pack=3)
    journal = KilledJournal(tmp_path / "b", "k", sound=is_record)
    journal.open()
    journal.left = after
    with pytest.raises(Killed):
        searched(points, near, racing=racing, journal=journal, pack=3)
    journal = Journal(tmp_path / "b", "k", sound=is_record)
    again, second = searched(points, near, racing=racing, journal=journal, records=journal.open(), pack=3)
    assert again.steps == whole.steps
    assert torch.equal(first.swarm.g, second.swarm.g)
    assert again.evaluations == whole.evaluations


def test_the_journal_alone_gives_the_run_again_without_an_evaluation(points, near, tmp_path):
    journal = opened(tmp_path)
    whole, _ = searched(points, near, racing=True, journal=journal)
    near.asked.clear()
    again, _ = searched(points, near, racing=True, journal=journal, records=Journal(tmp_path, "k").open())
    assert again.steps == whole.steps and not near.asked


def test_dropped_particles_are_counted_alike_after_a_resume(points, near, tmp_path):
    journal = opened(tmp_path)
    whole, _ = searched(points, near, journal=journal, drop_particle=0.5)
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert whole.evaluations == sum(len(line.get("points", ())) for line in lines)
    again, _ = searched(points, near, records=Journal(tmp_path, "k").open(), drop_particle=0.5)
    assert again.evaluations == whole.evaluations


def test_racing_changes_what_is_asked_and_nothing_else(points, near):
    plain, first = searched(points, near)
    raced, second = searched(points, near, racing=True)
    assert [s.point for s in plain.steps] == [s.point for s in raced.steps]
    assert plain.best.point == raced.best.point and plain.best.outcome.score == raced.best.outcome.score
    assert first.swarm.f_p == second.swarm.f_p and first.swarm.f_w == second.swarm.f_w
    assert raced.examples < 0.8 * plain.examples


@pytest.mark.parametrize("seed", range(6))
def test_racing_is_lossless_whatever_the_scores(seed, points):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.rand(30, 3, generator=generator)

    class Wild:
        key, size, span = "wild", 30, (0.0, 1.0)

        def rows(self, model, which):
            v = torch.tensor(model, dtype=torch.float32)
            return [(float((hidden[i] @ v * 7).sin() > 0.3 * (i % 3 - 1)), 1.0) for i in which]

        def score(self, rows):
            return sum(r[0] for r in rows) / len(rows)

        def require(self, model):
            pass

    space = replace(points, domain=Domain([0.0] * 3, [1.0] * 3))
    traces = []
    for racing in (False, True):
        optimizer = Pso(space.domain, seed=seed, particles=6, iterations=20)
        run = Run(optimizer, InProcess(lambda: Evaluator(space, Wild())), Scores("b", "o"), size=30, racing=racing)
        traces.append([s.point for s in run.run().steps])
    assert traces[0] == traces[1]


def test_F20_a_lost_line_is_evaluated_again_and_nothing_else_changes(points, near, tmp_path):
    journal = opened(tmp_path)
    whole, _ = searched(points, near, racing=True, journal=journal, pack=3)
    records = Journal(tmp_path, "k").open()
    near.asked.clear()
    left = [*records[:4], *records[5:]]
    again, _ = searched(points, near, racing=True, records=left, pack=3)
    assert again.steps == whole.steps and again.evaluations == whole.evaluations
    assert len(near.asked) == sum(Outcome.from_json(value).seen for value in records[4]["outcomes"])


def test_what_an_earlier_run_found_costs_nothing_and_changes_nothing(points, near):
    whole, _ = searched(points, near)
    known = {Scores("basis", near.key).key(s.point): s.outcome for s in whole.steps}
    near.asked.clear()
    again, _ = searched(points, near, earlier=known)
    assert again.steps == whole.steps and again.evaluations == whole.evaluations and not near.asked


def test_G5_a_smaller_budget_keeps_what_is_known(points, near, tmp_path):
    whole, _ = searched(points, near, journal=opened(tmp_path), budget=12)
    near.asked.clear()
    again, _ = searched(points, near, records=Journal(tmp_path, "k").open(), budget=4)
    assert again.evaluations == 12 and again.ended == whole.ended and again.best == whole.best and not near.asked


def test_equal_points_are_evaluated_once_and_the_budget_holds(points, near):
    whole, _ = searched(points, near, velocity="zero", inertia=0, social=0, repel=0, personal=0)
    assert whole.evaluations == 8  # nothing moves
    short, _ = searched(points, near, budget=13)
    assert short.evaluations == 13 and "budget" in short.ended
    assert short.best is not None
    with pytest.raises(BadParameter):
        searched(points, near, budget=0)


def test_a_point_without_a_model_scores_minus_infinity_and_is_journalled(tmp_path):
    bad = Outcome(-inf, -inf, -inf, "..", "cannot be made")
    assert Outcome.from_json(json.loads(json.dumps(bad.to_json()))) == bad
    open_ended = Outcome(0.5, -inf, inf, "..")
    assert Outcome.from_json(open_ended.to_json()).high == inf


def test_scores_are_kept_by_point_to_nine_digits():
    scores = Scores("basis", "objective")
    assert scores.key((0.1, 0.2)) == scores.key((0.1 + 1e-11, 0.2)) != scores.key((0.1 + 1e-8, 0.2))
    assert scores.key((0.0,)) == scores.key((-0.0,))
    assert scores.key((0.1,)) != Scores("other", "objective").key((0.1,))
    scores.put("k", Outcome(0.4, 0.3, 0.5, "1."))
    assert scores.get("k", (0.2, 0.6)) and not scores.get("k", (0.35, 0.6)) and not scores.get("k", None)


def test_processes_find_what_this_process_finds():
    traces = []
    for make in (InProcess, partial(Processes, count=2)):
        optimizer = Pso(Domain([0.0] * 3, [1.0] * 3), seed=2, particles=5, iterations=3)
        with make(make_bowl) as hands:
            traces.append(Run(optimizer, hands, Scores("b", "o"), pack=2).run().steps)
    assert traces[0] == traces[1]


def test_an_unknown_engine_is_refused_with_the_nearest():
    with pytest.raises(BadParameter, match="engine") as caught:
        workers("rai", make_bowl)
    assert "ray" in caught.value.hint


def test_a_raced_outcome_keeps_its_bounds(points, near):
    (outcome,) = Evaluator(points, near)(Job(((0.0, 0.0, 1.0),), ((0.0, 0.9),), tuple(range(40))))
    assert not outcome.is_complete and 0 <= outcome.low <= outcome.score <= outcome.high <= 0.9
    (whole,) = Evaluator(points, near)(Job(((0.0, 0.0, 1.0),)))
    assert outcome.low <= whole.score <= outcome.high
