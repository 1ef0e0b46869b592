"""A zoo as pictures: the similarities as a heat map, the kinship as a tree; inline SVG, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from markupsafe import Markup
from pydantic import FiniteFloat, model_validator

from consort.report.charts import EDGE, WIDTH, _cut, _join, _line, _svg, _text, x_title
from consort.report.parts import number, table, tag, text
from consort.report.schema import Part

Table = Sequence[Sequence[float | None]]
NAMES = 132
"""Width left for the names of models."""
LEGIBLE = 30.0
"""Side of a square from which on its number fits into it."""


class ClusterInfo(Part):
    name: str
    models: list[str]
    fit: FiniteFloat | None = None


class Worst(Part):
    map: str
    value: FiniteFloat


class PairSignals(Part):
    """Signals of how well two models may merge: means over their maps, and the map where each is worst."""

    models: list[str]
    mean: dict[str, FiniteFloat]
    worst: dict[str, Worst] = {}


class Kinship(Part):
    """Cosines of every pair of `models`, as results.json has them under `details.zoo`, and what was made of them."""

    models: list[str]
    weights: list[list[FiniteFloat | None]]
    deltas: list[list[FiniteFloat | None]]
    threshold: FiniteFloat = 0.95
    clusters: list[ClusterInfo] = []
    harmful: dict[str, str] = {}
    signals: list[PairSignals] = []

    @model_validator(mode="after")
    def _check_tables(self) -> Kinship:
        tables = (self.weights, self.deltas)
        lengths = {len(table) for table in tables} | {len(row) for table in tables for row in table}
        if lengths - {len(self.models)}:
            raise ValueError("a table that has not one row and one column for each model")
        return self


def similarity_map(names: Sequence[str], table: Table, *, title: str) -> Markup:
    """One square for each pair with its cosine, darker where models are more alike; None (another kind) stays empty.

    Columns have the numbers of the rows. Where squares are too small for numbers, each has it as its title.
    """
    side = min(44.0, (WIDTH - NAMES - EDGE) / max(1, len(names)))
    known = [v for i, row in enumerate(table) for j, v in enumerate(row) if v is not None and i != j]
    low, high = min(known, default=0.0), max(known, default=1.0)
    digits = 2 if high - low > 0.05 else 3 if high - low > 0.005 else 4
    parts = []
    for i, name in enumerate(names):
        parts.append(_text(NAMES - 6, 26 + (i + 0.5) * side + 4, f"{_cut(name, 16)} {i + 1}", "tick end"))
        parts.append(_text(NAMES + (i + 0.5) * side, 20, f"{i + 1}", "tick middle"))
        parts += [
            _square(NAMES + j * side, 26 + i * side, side, value, (low, high), digits)
            for j, value in enumerate(table[i])
            if value is not None
        ]
    bottom = 26 + side * len(names)
    parts.append(_text(NAMES, bottom + 18, f"cosine, no unit: {low:.3f} pale, {high:.3f} dark", "tick start"))
    return _svg(bottom + 26, title, f"{len(names)} models, cosines from {low:.3f} to {high:.3f}", parts)


def dendrogram(names: Sequence[str], table: Table, *, threshold: float, title: str) -> Markup:
    """Models joined where the nearest pair between their groups is (single linkage); a rule marks `threshold`.

    Cut at the rule, the tree falls into the connected components. Models of other architectures are never joined.
    """
    steps, order = joinings(table)
    row, top, right = 24, 10, WIDTH - EDGE
    low = min([threshold, *(level for *_, level in steps)], default=threshold)
    span = (1 - low) or 1.0

    def x(level: float) -> float:
        return NAMES + (right - NAMES) * (1 - level) / (span * 1.05)

    heights: dict[tuple[int, ...], tuple[float, float]] = {
        (i,): (top + (order.index(i) + 0.5) * row, float(NAMES)) for i in order
    }
    parts = [_text(NAMES - 6, heights[(i,)][0] + 4, _cut(names[i], 20), "tick end") for i in order]
    for left, other, level in steps:
        (y1, x1), (y2, x2), at = heights[left], heights[other], x(level)
        parts += [_line(x1, y1, at, y1, "axis"), _line(x2, y2, at, y2, "axis"), _line(at, y1, at, y2, "axis")]
        heights[tuple(sorted(left + other))] = ((y1 + y2) / 2, at)
    bottom = top + row * len(names)
    parts.append(_line(x(threshold), top, x(threshold), bottom, "rule"))
    parts.append(_text(x(threshold) + 4, bottom + 15, f"{threshold:g}", "tick start"))
    parts += [
        _text(NAMES, bottom + 15, "1", "tick middle"),
        x_title(WIDTH / 2, bottom + 32, "cosine of weights (no unit)"),
    ]
    return _svg(bottom + 40, title, f"{len(names)} models in a tree, cut at {threshold:g}", parts)


def joinings(table: Table) -> tuple[list[tuple[tuple[int, ...], tuple[int, ...], float]], list[int]]:
    """The steps of single linkage, most similar first, and the models in the order of the tree's leaves."""
    groups: list[tuple[int, ...]] = [(i,) for i in range(len(table))]
    trees = {group: [group[0]] for group in groups}
    steps: list[tuple[tuple[int, ...], tuple[int, ...], float]] = []
    while True:
        pairs = [
            (level, -i, -j)
            for i, a in enumerate(groups)
            for j, b in enumerate(groups[:i])
            if (level := max((v for p in a for q in b if (v := table[p][q]) is not None), default=None)) is not None
        ]
        if not pairs:
            return steps, [model for group in groups for model in trees[group]]
        level, i, j = max(pairs)
        first, second = groups[-j], groups[-i]
        joined = tuple(sorted(first + second))
        steps.append((first, second, level))
        trees[joined] = trees[first] + trees[second]
        groups = [joined if group == first else group for group in groups if group != second]


def kinship_charts(names: Sequence[str], weights: Table, deltas: Table, threshold: float) -> list[tuple[Markup, str]]:
    """Both similarities as heat maps and the tree by weights, each with its caption."""
    heat = similarity_map(names, weights, title="Cosine of weights")
    deltas_heat = similarity_map(names, deltas, title="Cosine of deltas")
    tree = dendrogram(names, weights, threshold=threshold, title="Kinship")
    return [
        (heat, "Cosine of weights, the mean over attention and MLP matrices"),
        (deltas_heat, "Cosine of differences from the base, or from the family's mean"),
        (tree, "Kinship by weights; the rule is the threshold of a cluster"),
    ]


def signals_table(pairs: Sequence[PairSignals]) -> Markup:
    """A row for each pair; a cell's title names the map where that signal is worst."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair.mean))
    rows = [[" + ".join(pair.models), *(_signal(pair, name) for name in names)] for pair in pairs]
    titles = ["pair", *(name.replace("_", " ") for name in names)]
    return table(titles, rows, caption="How well pairs may merge, told before anything is merged", name="signals")


def _signal(pair: PairSignals, name: str) -> Markup | None:
    if name not in pair.mean:
        return None
    worst = pair.worst.get(name)
    said = f"worst {number(worst.value)}: {worst.map}" if worst else ""
    return tag("span", number(pair.mean[name]), title=said)


def zoo_page(found: Mapping[str, Any], charts: Sequence[tuple[Markup, str]], *, title: str) -> str:
    """One self-contained HTML file: charts, then the clusters, then everything as JSON."""
    from consort.report.page import embedded

    style = Markup((files("consort.report") / "style.css").read_text("utf-8"))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = Markup(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        '<meta http-equiv="Content-Security-Policy" content="{}"><title>{}</title><style>{}</style></head>'
        "<body><main>"
    ).format(policy, text(title), style)
    items = [
        Markup("<li>{}{}</li>").format(
            text(", ".join(one["members"])), text(f" (representative: {one['representative']})")
        )
        for one in found.get("clusters", [])
    ]
    listed = Markup("<h2>Clusters</h2><ol>{}</ol>").format(_join(items)) if items else Markup("")
    data = Markup('<script type="application/json">{}</script></main></body></html>').format(embedded(found))
    figures = _join(
        Markup("<figure><figcaption>{}</figcaption>{}</figure>").format(caption, chart) for chart, caption in charts
    )
    pairs = [PairSignals.model_validate(one) for one in found.get("signals", [])]
    told = signals_table(pairs) if pairs else Markup("")
    return str(head + Markup("<h1>{}</h1>").format(text(title)) + figures + told + listed + data)


def _square(x: float, y: float, side: float, value: float, bounds: tuple[float, float], digits: int) -> Markup:
    low, high = bounds
    shade = 0.08 + 0.92 * min(1.0, max(0.0, (value - low) / ((high - low) or 1.0)))
    square = '<rect class="cell" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" opacity="{:.2f}">'
    square += "<title>{:.4f}</title></rect>"
    drawn = Markup(square).format(x, y, side - 1, side - 1, shade, value)
    if side < LEGIBLE:
        return drawn
    kind = "in-cell strong middle" if shade > 0.55 else "in-cell middle"
    return drawn + _text(x + (side - 1) / 2, y + side / 2 + 3.5, _short(value, digits), kind)


def _short(value: float, digits: int) -> str:
    """Some digits, without the zero before the point: ".97", "-.31"; "1" where it is one but for rounding."""
    if value > 1 - 1e-6:
        return "1"
    rounded = f"{value:.{digits}f}"
    return rounded.replace("0.", ".", 1) if abs(value) < 1 else rounded
