"""A search as pictures: scores over iterations, the particles' paths in the plane, and what became of each start.

Of a search with several trials, the trial in which the best was found is shown. Where racing stopped an evaluation, its
score is the middle of what it could have been; bests are always exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup
from pydantic import FiniteFloat, NonNegativeInt, model_validator

from consort.core.counted import counted
from consort.report.charts import WIDTH, _cut, _dot, _line, _scale, _steps, _svg, _text, nice_ticks, x_title, y_title
from consort.report.schema import Part
from consort.search.swarm.analysis import in_plane, rank_of

MOST = 30
"""Particles drawn at most, those that ended best."""
FINEST = 120
"""Points of one line at most."""
T = TypeVar("T")


class SearchStep(Part):
    """One score that an optimizer was told: of particle `who`, at `point`; not `complete`: racing stopped it."""

    generation: NonNegativeInt
    who: NonNegativeInt = 0
    score: FiniteFloat | None = None
    complete: bool = True
    point: list[FiniteFloat]


class SearchHistory(Part):
    """What a search did, as results.json has it under `details.history`.

    `trials` are the generations at which a swarm began anew, none where no particles move.
    """

    optimizer: str
    names: list[str] = []
    steps: list[SearchStep]
    trials: list[NonNegativeInt] = []

    @model_validator(mode="after")
    def _check_points(self) -> SearchHistory:
        if len({len(step.point) for step in self.steps}) > 1:
            raise ValueError("points of unequal length")
        if self.trials and (self.trials[0] or self.trials != sorted(self.trials)):
            raise ValueError("trials that do not begin one after the other, the first at 0")
        return self


@dataclass(frozen=True, slots=True)
class Particle:
    """One particle of a trial: its steps in order; `is_best`: it found the best of all."""

    name: str
    steps: tuple[SearchStep, ...]
    is_best: bool = False

    @property
    def scores(self) -> list[tuple[int, float]]:
        """(generation, score) where it was evaluated."""
        return [(s.generation, s.score) for s in self.steps if s.score is not None]

    @property
    def peak(self) -> float:
        """Its best exact score; -inf if it has none."""
        return max((s.score for s in self.steps if s.complete and s.score is not None), default=float("-inf"))

    @property
    def first(self) -> float:
        score = self.steps[0].score
        return float("-inf") if score is None else score


def best_step(history: SearchHistory) -> SearchStep | None:
    """The first of the highest exact scores."""
    known = [s for s in history.steps if s.complete and s.score is not None]
    return max(known, key=lambda s: s.score or 0.0) if known else None


def particles_of(history: SearchHistory) -> list[Particle]:
    """The particles of the trial that found the best, by number; none if the search moves no particles."""
    best = best_step(history)
    if best is None or not history.trials:
        return []
    begin = max(t for t in history.trials if t <= best.generation)
    end = min((t for t in history.trials if t > best.generation), default=None)
    own = [s for s in history.steps if begin <= s.generation and (end is None or s.generation < end)]
    numbers = sorted({s.who for s in own})
    steps = {n: tuple(s for s in own if s.who == n) for n in numbers}
    return [Particle(_name(steps[n][0], n, history.names), steps[n], n == best.who) for n in numbers]


def figures(history: SearchHistory) -> list[tuple[Markup, str]]:
    """Each picture with its caption: of a search by particles three, of any other the scores alone."""
    if best_step(history) is None:
        return []
    particles = particles_of(history)
    found = [(utility_chart(history, particles), _about_scores(history, particles))]
    if particles and len(history.names) > 1:
        found.append((path_chart(particles, history.names), _about_paths(particles)))
    if len(particles) > 1:
        found.append((rank_chart(particles), "Each line is one particle: its rank at the start, and that of its best."))
    return found


def utility_chart(history: SearchHistory, particles: Sequence[Particle]) -> Markup:
    """Scores by iteration: of each particle, their mean, and the best so far."""
    steps = [s for p in particles for s in p.steps] or history.steps
    scores: dict[int, list[float]] = {s.generation: [] for s in steps}
    for s in steps:
        if s.score is not None:
            scores[s.generation].append(s.score)
    best = _best_so_far(steps)
    mean = _mean(particles, sorted(scores)) if particles else _means(scores)
    levels = [v for row in scores.values() for v in row]
    top, bottom, left, right = 14, 226, 44, WIDTH - 52
    ticks = nice_ticks(min(levels), max(levels))
    first, last = min(scores), max(scores)
    x, y = _scale(first, max(last, first + 1), left + 8, right), _scale(ticks[0], ticks[-1], bottom, top)
    parts = [_line(left, y(t), right, y(t), "grid") + _text(left - 6, y(t) + 4, f"{t:g}", "tick end") for t in ticks]
    if particles:
        parts += [_polyline([(x(g), y(v)) for g, v in p.scores], "path") for p in _shown(particles)]
    else:
        parts += [_dot(x(g), y(v), 2.6, "tried") for g, row in scores.items() for v in row]
    parts += [_polyline([(x(g), y(v)) for g, v in mean], "mean"), _steps([*best, (last, best[-1][1])], x, y)]
    parts += _ends({"best": ("winner", y(best[-1][1])), "mean": ("mean-name", y(mean[-1][1]))}, right + 5)
    parts += [
        _text(left + 8, bottom + 16, "0", "tick middle"),
        _text(right, bottom + 16, f"{last - first}", "tick end"),
        x_title((left + right) / 2, bottom + 32, "iteration"),
        y_title((top + bottom) / 2, "score of the search"),
    ]
    described = f"best {best[0][1]:.3f} at first, {best[-1][1]:.3f} at last; mean {mean[0][1]:.3f}, {mean[-1][1]:.3f}"
    return _svg(bottom + 40, "Scores over iterations", described, parts)


def path_chart(particles: Sequence[Particle], names: Sequence[str]) -> Markup:
    """Where the particles went, in the plane of largest spread; one scale for both directions."""
    shown = _shown(particles)
    tracks = [_thinned([s.point for s in p.steps]) for p in shown]
    best = best_of(particles)
    points = [point for track in tracks for point in track] + [best.point]
    flat = iter(in_plane(points))
    placed = [[next(flat) for _ in track] for track in tracks]
    peak = next(flat)
    at, height = _fitted([*(spot for track in placed for spot in track), peak])
    parts = []
    for particle, track in sorted(zip(shown, placed, strict=True), key=lambda pair: pair[0].is_best):
        parts.append(_polyline([at(spot) for spot in track], f"path{_mark(particle)}"))
    for particle, track in zip(shown, placed, strict=True):
        parts.append(_dot(*at(track[0]), 4, f"origin{_mark(particle)}"))
        parts.append(_dot(*at(track[-1]), 3, f"finish{_mark(particle)}"))
    labels = [(at(track[0]), p.name) for p, track in zip(shown, placed, strict=True) if p.name in names]
    heights = _apart([y - 8 for (_, y), _ in labels], 12)
    parts += [
        _text(x, y, _cut(name, 16), f"tick {_side(x)}") for ((x, _), name), y in zip(labels, heights, strict=True)
    ]
    x, y = at(peak)
    parts.append(_dot(x, y, 7, "ring") + _text(x, y + 20, "best", f"tick winner {_side(x)}"))
    described = f"{counted(len(shown), 'particle')}; the best lies at {peak[0]:.3f}, {peak[1]:.3f}"
    parts.append(x_title(WIDTH / 2, height + 8, "plane of largest spread: coefficients, no unit, equal scales"))
    return _svg(height + 16, "Paths of the particles", described, parts)


def rank_chart(particles: Sequence[Particle]) -> Markup:
    """Two columns of ranks, the initial and the final one of each particle, joined by a line."""
    firsts, peaks = [p.first for p in particles], [p.peak for p in particles]
    left, right, row, top = 150, WIDTH - 90, 15, 30
    shown = _shown(particles)
    ranks = [(rank_of(firsts, i), rank_of(peaks, i), p) for i, p in enumerate(particles) if p in shown]
    starts, ends = sorted(before for before, _, _ in ranks), sorted(after for _, after, _ in ranks)
    parts = [_text(left, 14, "rank at the start", "tick end"), _text(right, 14, "at the end", "tick start")]
    rows = []
    for before, after, p in ranks:
        y1, y2 = top + row * starts.index(before), top + row * ends.index(after)
        kind = " winner" if p.is_best else ""
        rows.append(f"{p.name} {before} to {after}")
        parts.append(_polyline([(left + 8, y1), (right - 8, y2)], f"path{kind}"))
        parts.append(_dot(left + 8, y1, 3.5, f"origin{kind}") + _dot(right - 8, y2, 3, f"finish{kind}"))
        parts.append(_text(left, y1 + 4, f"{_cut(p.name, 18)} · {before}", f"tick end{kind}"))
        parts.append(_text(right, y2 + 4, f"{after} · {p.peak:.3f}", f"tick start{kind}"))
    return _svg(top + row * len(ranks), "Final rank against initial rank", "; ".join(rows), parts)


def best_of(particles: Sequence[Particle]) -> SearchStep:
    """The best step of the particle that found the best."""
    own = next(p for p in particles if p.is_best)
    return next(s for s in own.steps if s.complete and s.score == own.peak)


def _name(step: SearchStep, number: int, names: Sequence[str]) -> str:
    """An expert's name where a particle starts as it, else its number."""
    ones = [i for i, c in enumerate(step.point) if c == 1]
    is_expert = len(ones) == 1 and sum(map(abs, step.point)) == 1 and ones[0] < len(names)
    return names[ones[0]] if is_expert else f"start {number + 1}"


def _shown(particles: Sequence[Particle]) -> list[Particle]:
    """As many as can be told apart, those that ended best."""
    ranked = sorted(particles, key=lambda p: -p.peak)[:MOST]
    return [p for p in particles if p in ranked]


def _best_so_far(steps: Sequence[SearchStep]) -> list[tuple[int, float]]:
    """The best exact score, where it rises."""
    exact = [(s.generation, s.score) for s in steps if s.complete and s.score is not None]
    found: list[tuple[int, float]] = []
    for generation, score in sorted(exact, key=lambda pair: (pair[0], -pair[1])):
        if not found or score > found[-1][1]:
            found.append((generation, score))
    return found


def _mean(particles: Sequence[Particle], generations: Sequence[int]) -> list[tuple[int, float]]:
    """The mean of the last known score of all particles, after each generation."""
    known: list[Mapping[int, float]] = [dict(p.scores) for p in particles]
    last: dict[int, float] = {}
    found = []
    for generation in generations:
        last |= {i: scores[generation] for i, scores in enumerate(known) if generation in scores}
        if last:
            found.append((generation, sum(last.values()) / len(last)))
    return found


def _means(scores: Mapping[int, Sequence[float]]) -> list[tuple[int, float]]:
    return [(generation, sum(row) / len(row)) for generation, row in sorted(scores.items()) if row]


def _fitted(spots: Sequence[tuple[float, float]]) -> tuple[Callable[[tuple[float, float]], tuple[float, float]], float]:
    """From the plane to the picture, and the picture's height."""
    xs, ys = [s[0] for s in spots], [s[1] for s in spots]
    margin, most = 34.0, 380.0
    wide, high = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
    unit = min((WIDTH - 2 * margin) / wide, (most - 2 * margin) / high)
    inset = (WIDTH - unit * (max(xs) - min(xs))) / 2

    def at(spot: tuple[float, float]) -> tuple[float, float]:
        return inset + unit * (spot[0] - min(xs)), margin + unit * (max(ys) - spot[1])

    return at, 2 * margin + unit * (max(ys) - min(ys))


def _thinned(points: Sequence[T]) -> list[T]:
    """At most FINEST points of a path, its ends among them."""
    if len(points) <= FINEST:
        return list(points)
    return [points[round(i * (len(points) - 1) / (FINEST - 1))] for i in range(FINEST)]


def _polyline(spots: Sequence[tuple[float, float]], kind: str) -> Markup:
    path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in _thinned(spots))
    return Markup('<path class="{}" d="{}"/>').format(kind, path) if spots else Markup("")


def _ends(labels: Mapping[str, tuple[str, float]], x: float) -> list[Markup]:
    """Names at the ends of lines."""
    heights = _apart([y + 4 for _, y in labels.values()], 14)
    return [_text(x, y, name, f"tick start {labels[name][0]}") for name, y in zip(labels, heights, strict=True)]


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """The same heights, lower ones moved down where they would be closer than `gap`."""
    found, last = list(heights), float("-inf")
    for i in sorted(range(len(heights)), key=heights.__getitem__):
        last = found[i] = max(heights[i], last + gap)
    return found


def _mark(particle: Particle) -> str:
    return " winner" if particle.is_best else ""


def _side(x: float) -> str:
    return "start" if x < 70 else "end" if x > WIDTH - 70 else "middle"


def _about_scores(history: SearchHistory, particles: Sequence[Particle]) -> str:
    if not particles:
        return "Each dot is one point; the thick line is the best so far, the dashed one the mean of each iteration."
    few = "" if len(particles) <= MOST else f" (the best {MOST} of {len(particles)})"
    trial = "" if len(history.trials) == 1 else f" The best of {len(history.trials)} trials is shown."
    raced = ""
    if not all(s.complete for p in particles for s in p.steps):
        raced = " Where racing stopped an evaluation, its score is drawn as the middle of what it could have been."
    return (
        f"Each thin line is one particle{few}; the thick one is the best so far, the dashed one the mean.{raced}{trial}"
    )


def _about_paths(particles: Sequence[Particle]) -> str:
    return (
        f"Coefficients of {counted(len(particles), 'particle')} in the plane of their largest spread: rings are "
        "starts, dots are ends, and the strong line is the particle that found the best."
    )
