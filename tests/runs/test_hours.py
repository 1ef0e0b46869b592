"""The time that a run may take: injected clocks, no wall time."""

from __future__ import annotations

import json
from math import inf

import pytest

from consort.core.errors import BadParameter
from consort.recipes.auto.outlook import outlook
from consort.recipes.auto.run import auto
from consort.runs import hours, trials
from consort.runs.hours import Hours

MODELS = ["lab:base", "lab:mirror", "lab:order"]
EVALUATION_S = 100.0


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still, but for `EVALUATION_S` at each evaluation, which says so too."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(hours, "CLOCK", lambda: Clock.now)
    plain = trials.evaluate

    def timed(*given, **options):
        from dataclasses import replace

        Clock.now += EVALUATION_S
        Clock.asked += 1
        return replace(plain(*given, **options), seconds=EVALUATION_S)

    Clock.asked = 0
    monkeypatch.setattr(trials, "evaluate", timed)
    return Clock


@pytest.fixture
def task(tmp_path):
    from consort import lab

    lines = (lab.path("tasks/skills") / "dev.jsonl").read_text().splitlines()
    own = [line for line in lines if json.loads(line)["group"] in ("mirror", "order")]
    (tmp_path / "task.jsonl").write_text("\n".join(own[:40]))
    return tmp_path / "task.jsonl"


def results(out):
    return json.loads((out / "results.json").read_text())


def late(out):
    return [note for note in results(out)["notes"] if note.startswith("not tried: hours: ")]


def test_what_is_left_counts_earlier_starts_and_what_is_reserved(clock):
    bounded = Hours(1.0, before_s=1000.0)
    clock.now = 600.0
    assert (bounded.spent_s, bounded.left_s) == (1600.0, 2000.0) and bounded.fits
    bounded.reserve_s, bounded.each_s = 1500.0, 500.0
    assert bounded.fits
    bounded.each_s = 501.0
    assert not bounded.fits
    assert Hours().left_s == inf and Hours().fits
    for wrong in (0.0, -1.0, inf, float("nan")):
        with pytest.raises(BadParameter, match="hours"):
            Hours(wrong)


def test_a_run_ends_in_its_time_tells_what_it_left_and_goes_on_with_more(task, tmp_path, clock):
    run = tmp_path / "run"
    auto(MODELS, task=task, out=run, budget=60, hours=1.0)
    took, tried = clock.now, len(results(run)["candidates"])
    assert took <= 3600 and 0 < tried < 40
    assert any("more merges of base's family" in note for note in late(run))
    assert any("teams: " in note for note in late(run))
    asked = clock.asked
    auto(MODELS, task=task, out=run, budget=60, hours=1.0)
    assert clock.asked == asked and len(results(run)["candidates"]) == tried
    auto(MODELS, task=task, out=run, budget=60, hours=2.0)
    more = results(run)
    assert tried < len(more["candidates"]) and clock.now <= 7200
    assert any("goes on with" in note and "hours" in note for note in more["notes"])
    auto(MODELS, task=task, out=tmp_path / "unbounded", budget=60)
    auto(MODELS, task=task, out=run, budget=60, hours=100.0)
    assert not late(run)
    fit = {c["name"]: c["fit"] for c in results(run)["candidates"]}
    assert fit == {c["name"]: c["fit"] for c in results(tmp_path / "unbounded")["candidates"]}


def test_a_cut_run_has_the_time_that_is_left(task, tmp_path, clock, monkeypatch):
    class Killed(BaseException): ...

    plain = trials.evaluate
    with monkeypatch.context() as context, pytest.raises(Killed):

        def dies(*given, **options):
            if clock.asked == 12:
                raise Killed
            return plain(*given, **options)

        context.setattr(trials, "evaluate", dies)
        auto(MODELS, task=task, out=tmp_path / "run", budget=60, hours=1.0)
    clock.now = 1e6  # later; that time is nobody's
    auto(MODELS, task=task, out=tmp_path / "run", budget=60, hours=1.0)
    assert clock.now - 1e6 + 12 * EVALUATION_S <= 3600 + EVALUATION_S and late(tmp_path / "run")


def test_with_no_time_at_all_only_what_takes_none_is_tried(task, tmp_path, clock):
    outcome = auto(MODELS, task=task, out=tmp_path / "run", budget=20, hours=0.01)
    assert all(
        c["note"] == "cross-fitted" for c in results(tmp_path / "run")["candidates"]
    )  # of answers that are known
    assert outcome.headline and any("more merges of base's family" in note for note in late(tmp_path / "run"))


def test_the_outlook_says_what_a_bound_means(task):
    found = outlook(MODELS, task=task, budget=20, hours=1e-6)
    assert any(line.startswith("--hours 1e-06: what does not fit into 0 s") for line in found.lines)
    assert not any("--hours" in line for line in outlook(MODELS, task=task, budget=20, hours=9.0).lines)
