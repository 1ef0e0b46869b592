"""Charts as inline SVG: pure functions from numbers to markup; every text is escaped, colours come from the page's CSS.

All are 460 units wide, so that they are legible on a phone and stand two abreast on a desk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from consort.core.visible import visible
from consort.ensemble.routing.cost_quality import pareto

WIDTH = 460
EDGE = 14

Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of an interval chart: `kind` is winner, reference or single."""

    name: str
    value: float
    low: float
    high: float
    kind: str = "single"


@dataclass(frozen=True, slots=True)
class Point:
    """A system in a chart of price and score: `price` above 0, `kind` its class in the style sheet.

    `link` is a file beside the page; points `on_front` are joined by the line, and where there is none those that
    nothing cheaper equals.
    """

    name: str
    price: float
    score: float
    kind: str = "tried"
    link: str = ""
    on_front: bool = False


def interval_chart(marks: Sequence[Mark], *, title: str, axis: str = "score") -> Markup:
    """Dots with 95 % whiskers, one line each, names above the lines; a dashed rule at the reference's value.

    `axis` says what is measured, with its unit.
    """
    top, row = 8, 38
    bottom = top + row * len(marks)
    ticks = nice_ticks(min(m.low for m in marks), max(m.high for m in marks))
    x = _scale(ticks[0], ticks[-1], EDGE, WIDTH - EDGE)
    parts = [_grid(ticks, x, top, bottom)]
    for m in (m for m in marks if m.kind == "reference"):
        parts.append(_line(x(m.value), top, x(m.value), bottom, "rule"))
    for i, m in enumerate(marks):
        parts.append(_mark(m, x, top + row * i))
    parts.append(x_title(WIDTH / 2, bottom + 34, axis))
    described = "; ".join(f"{m.name} {m.value:.3f} ({m.low:.3f} to {m.high:.3f})" for m in marks)
    return _svg(bottom + 42, title, described, parts)


def history_chart(scores: Sequence[float | None], baseline: float | None, *, title: str, axis: str = "score") -> Markup:
    """Scores in the order of the search as dots, the best so far as a line, the best single as a dashed rule."""
    known = [s for s in scores if s is not None]
    levels = known + ([] if baseline is None else [baseline])
    if not known:
        return Markup("")
    top, bottom, left = 14, 206, 44
    ticks = nice_ticks(min(levels), max(levels))
    y = _scale(ticks[0], ticks[-1], bottom, top)
    x = _scale(1, max(len(scores), 2), left + 8, WIDTH - EDGE)
    parts = [
        _line(left, y(t), WIDTH - EDGE, y(t), "grid") + _text(left - 6, y(t) + 4, f"{t:g}", "tick end") for t in ticks
    ]
    if baseline is not None:
        parts.append(_line(left, y(baseline), WIDTH - EDGE, y(baseline), "rule"))
        parts.append(_text(WIDTH - EDGE, y(baseline) - 5, "best single", "tick end"))
    parts += [_dot(x(i), y(s), 2.6, "tried") for i, s in enumerate(scores, 1) if s is not None]
    parts.append(_steps(_best_so_far(scores), x, y))
    parts.append(_text(left + 8, bottom + 16, "1", "tick middle"))
    parts.append(_text(WIDTH - EDGE, bottom + 16, f"{len(scores)}", "tick end"))
    parts += [x_title((left + WIDTH) / 2, bottom + 32, "systems tried, in order"), y_title((top + bottom) / 2, axis)]
    return _svg(bottom + 40, title, f"best of {len(scores)}: {max(known):.3f}", parts)


def front_chart(
    points: Sequence[Point], *, title: str, axis: str = "score", unit: str = "tokens × parameters"
) -> Markup:
    """Score against the price of an answer (logarithmic, in `unit`); the line joins what nothing cheaper equals."""
    if len(points) < 2:
        return Markup("")
    top, bottom, left = 14, 206, 44
    prices = [math.log10(p.price) for p in points]
    ticks = nice_ticks(min(p.score for p in points), max(p.score for p in points))
    y = _scale(ticks[0], ticks[-1], bottom, top)
    x = _scale(min(prices), max(max(prices), min(prices) + 0.1), left + 8, WIDTH - EDGE - 8)
    parts = [
        _line(left, y(t), WIDTH - EDGE, y(t), "grid") + _text(left - 6, y(t) + 4, f"{t:g}", "tick end") for t in ticks
    ]
    joined = sorted((p for p in points if p.on_front), key=lambda p: p.price) or front(points)
    parts.append(_steps([(math.log10(p.price), p.score) for p in joined], x, y))
    parts += [_system(p, x(log), y(p.score)) for p, log in zip(points, prices, strict=True)]
    for at, place in ((min(prices), "tick start"), (max(prices), "tick end")):
        parts.append(_text(x(at), bottom + 16, f"{10**at:.3g}", place))
    parts.append(x_title((left + WIDTH) / 2, bottom + 32, f"price of an answer: {unit}, logarithmic"))
    parts.append(y_title((top + bottom) / 2, axis))
    best = ", ".join(f"{p.name} {p.score:.3f} at {p.price:.3g}" for p in joined)
    return _svg(bottom + 40, title, f"nothing cheaper equals: {best}", parts)


def _system(p: Point, x: float, y: float) -> Markup:
    """A dot that tells its system where the pointer is, and leads to its plan where it has one."""
    told = Markup("<title>{}</title>").format(visible(f"{p.name}: {p.score:.3f} at {p.price:.3g}"))
    dot = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>')
    shown = dot.format(p.kind, x, y, 5 if "winner" in p.kind else 4 if p.on_front else 2.6, told)
    return Markup('<a href="{}">{}</a>').format(visible(p.link), shown) if p.link else shown


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats at a price as low, cheapest first; of equal ones the first."""
    first = {(p.price, p.score): p for p in reversed(points)}
    return [first[place] for place in pareto(list(first))]


def coefficient_chart(values: Mapping[str, float], *, title: str, axis: str = "coefficient") -> Markup:
    """Bars from zero, one for each model."""
    top, row = 6, 34
    bottom = top + row * len(values)
    ticks = nice_ticks(min(0.0, *values.values()), max(0.0, *values.values()))
    x = _scale(ticks[0], ticks[-1], EDGE, WIDTH - EDGE)
    parts = [_grid(ticks, x, top, bottom), _line(x(0), top, x(0), bottom, "axis")]
    for i, (name, value) in enumerate(values.items()):
        at, left = top + row * i, min(x(0), x(value))
        parts.append(
            _text(EDGE, at + 13, _cut(name), "name") + _text(WIDTH - EDGE, at + 13, f"{value:.3g}", "value end")
        )
        bar = '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="9" rx="2"/>'
        parts.append(Markup(bar).format("bar", left, at + 18, max(abs(x(value) - x(0)), 1)))
    parts.append(x_title(WIDTH / 2, bottom + 34, axis))
    described = "; ".join(f"{name} {value:.3g}" for name, value in values.items())
    return _svg(bottom + 42, title, described, parts)


def nice_ticks(low: float, high: float, *, wanted: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that enclose [low, high], about `wanted` of them."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(m * power for m in (1, 2, 5, 10) if span / (m * power) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [round(i * step, digits) for i in range(first, max(last, first + 1) + 1)]


def x_title(x: float, y: float, name: str) -> Markup:
    """What the horizontal axis measures, with its unit."""
    return _text(x, y, name, "axis-name middle")


def y_title(y: float, name: str) -> Markup:
    """What the vertical axis measures, with its unit; it reads upwards at the left edge."""
    turned = '<text class="axis-name middle" x="0" y="0" transform="translate(10 {:.1f}) rotate(-90)">{}</text>'
    return Markup(turned).format(y, visible(name))


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _mark(m: Mark, x: Scale, top: float) -> Markup:
    y = top + 26
    texts = _text(EDGE, top + 14, _cut(m.name), f"name {m.kind}") + _text(
        WIDTH - EDGE, top + 14, f"{m.value:.3f}", "value end"
    )
    whisker = _line(x(m.low), y, x(m.high), y, f"whisker {m.kind}")
    return texts + whisker + _dot(x(m.value), y, 5.5 if m.kind == "winner" else 4.5, f"dot {m.kind}")


def _grid(ticks: Sequence[float], x: Scale, top: float, bottom: float) -> Markup:
    def place(i: int) -> str:
        return "tick start" if i == 0 else "tick end" if i == len(ticks) - 1 else "tick middle"

    lines = (_line(x(t), top, x(t), bottom, "grid") for t in ticks)
    return _join([*lines, *(_text(x(t), bottom + 17, f"{t:g}", place(i)) for i, t in enumerate(ticks))])


def _best_so_far(scores: Sequence[float | None]) -> list[tuple[int, float]]:
    best: list[tuple[int, float]] = []
    for i, score in enumerate(scores, 1):
        if score is not None and (not best or score > best[-1][1]):
            best.append((i, score))
    return [*best, (len(scores), best[-1][1])]


def _steps(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> Markup:
    path = f"M{x(points[0][0]):.1f},{y(points[0][1]):.1f}"
    path += "".join(f"H{x(i):.1f}V{y(score):.1f}" for i, score in points[1:])
    return Markup('<path class="best" d="{}"/>').format(path)


def _svg(height: float, title: str, described: str, parts: Iterable[Markup]) -> Markup:
    opening = '<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}"><title>{}</title><desc>{}</desc>'
    return (
        Markup(opening).format(WIDTH, height, *map(visible, (title, title, described)))
        + _join(parts)
        + Markup("</svg>")
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def _dot(x: float, y: float, radius: float, kind: str) -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(kind, x, y, radius)


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(kind, x, y, visible(text))


def _cut(name: str, most: int = 44) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)
