"""The pictures of a search: what they show of a small swarm by hand, of several trials, and of other optimizers."""

from __future__ import annotations

import re

import pytest

from consort.report import render
from consort.report.swarm import SearchHistory, best_of, figures, particles_of, path_chart, rank_chart, utility_chart

NAMES = ["mirror", "order"]


def step(generation, who, score, point, complete=True):
    return {"generation": generation, "who": who, "score": score, "point": point, "complete": complete}


STEPS = [
    step(0, 0, 0.5, [1, 0]),
    step(0, 1, 0.4, [0, 1]),
    step(0, 2, 0.2, [0.5, 0.5]),
    step(1, 0, 0.3, [0.9, 0.1]),
    step(1, 1, 0.45, [0.1, 0.9], complete=False),
    step(1, 2, 0.8, [0.7, 0.6]),
    step(2, 2, 0.1, [0.8, 0.8]),
]


def history(steps=STEPS, trials=(0,), names=NAMES):
    return SearchHistory(optimizer="pso", names=list(names), steps=steps, trials=list(trials))


def places(svg, kind):
    found = re.findall(rf'<circle class="{kind}" cx="([-\d.]+)" cy="([-\d.]+)"', str(svg))
    return [tuple(map(float, spot)) for spot in found]


def test_particles_have_the_names_of_experts_and_exact_peaks():
    first, second, third = particles_of(history())
    assert [p.name for p in (first, second, third)] == ["mirror", "order", "start 3"]
    assert (first.peak, second.peak, third.peak) == (0.5, 0.4, 0.8)  # .45 was not exact
    assert third.is_best and best_of((first, second, third)).point == [0.7, 0.6]


def test_ranks_by_hand():
    svg = str(rank_chart(particles_of(history())))
    assert "mirror 1 to 2; order 2 to 3; start 3 3 to 1" in svg
    assert "1 · 0.800" in svg and svg.count('<path class="path') == 3


def test_paths_keep_distances_and_mark_the_best():
    svg = path_chart(particles_of(history()), NAMES)
    starts, ends = places(svg, "origin"), places(svg, "finish") + places(svg, "finish winner")
    [winner], [peak] = places(svg, "origin winner"), places(svg, "ring")
    assert len(starts) == 2 and len(ends) == 3

    def between(a, b):
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5

    # two coordinates lie in the plane as they are: |e1 - e2| = sqrt 2, and the best is sqrt .05 from its start
    unit = between(*starts) / 2**0.5
    assert between(winner, peak) / unit == pytest.approx(0.05**0.5, abs=2e-3)


def test_scores_have_a_line_for_each_particle_their_mean_and_the_best():
    svg = str(utility_chart(history(), particles_of(history())))
    assert svg.count('class="path"') == 3 and svg.count('class="mean"') == 1 and svg.count('class="best"') == 1
    # after the last generation: .3, .45 and .1 are the last known scores
    assert "best 0.500 at first, 0.800 at last; mean 0.367, 0.283" in svg


def test_of_several_trials_that_of_the_best_is_shown():
    later = [{**s, "generation": s["generation"] + 3, "score": s["score"] / 2} for s in STEPS]
    both = history(STEPS + later, trials=(0, 3))
    assert [len(p.steps) for p in particles_of(both)] == [2, 2, 3]
    assert "The best of 2 trials" in figures(both)[0][1]


def test_without_particles_only_scores_are_shown():
    [(svg, caption)] = figures(history(trials=()))
    assert str(svg).count("<circle") == len(STEPS) and "one point" in caption


def test_of_many_particles_the_best_are_drawn():
    many = [step(0, i, i / 100, [i / 50, 1 - i / 50]) for i in range(50)]
    (scores, caption), (paths, _), (ranks, _) = figures(history(many, names=["a", "b"]))
    assert "the best 30 of 50" in caption
    assert len(places(paths, "origin")) == 29 and str(ranks).count("<path") == 30
    assert str(scores).count('class="path"') == 30


def test_nothing_to_show_without_an_exact_score():
    assert figures(history([step(0, 0, 0.5, [1, 0], complete=False), step(0, 1, None, [0, 1])])) == []


def test_the_page_of_a_search_says_how_it_went(run_json, write):
    history = {"optimizer": "pso", "names": ["<b>", "order"], "steps": STEPS, "trials": [0]}
    run_json["details"] = {"history": history}
    html = render(write(run_json))
    assert "How the search went" in html and "What was tried" not in html and "Dev was cut in two" not in html
    assert "&lt;b&gt;" in html and "<b> · 1" not in html and html == render(write(run_json))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": [*STEPS, step(3, 0, 0.1, [1])]}, "unequal length"),
        ({"trials": [2]}, "one after the other"),
        ({"steps": [step(0, -1, 0.1, [1])]}, "greater than or equal to 0"),
    ],
)
def test_a_damaged_history_is_said_to_be_one(run_json, write, caplog, change, message):
    run_json["details"] = {"history": {"optimizer": "pso", "names": NAMES, "steps": STEPS, "trials": [0], **change}}
    html = render(write(run_json))
    assert "This part cannot be shown" in html and message in html and "history cannot be shown" in caplog.text
