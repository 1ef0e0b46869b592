"""Parts of a page: text, tables, cards, figures. What is given as text is escaped and its control characters shown.

Views are written with these, so that every table sorts, filters and downloads, and no text breaks out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from consort.core.visible import visible


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that is more than its text: `shown` stands in it, `sort` is what it is sorted by, `csv` what is saved."""

    shown: Any
    sort: float | str | None = None
    csv: str | None = None
    kind: str = ""
    style: str = ""


def text(value: Any) -> Markup:
    """Any text, safe to show: markup as it is, a string escaped, what is no string as JSON."""
    if isinstance(value, Markup):
        return value
    return escape(visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)))


def joined(parts: Iterable[Any], between: str = "") -> Markup:
    """Parts one after the other."""
    return Markup(escape(between)).join(map(text, parts))


def tag(name: str, content: Any = "", **attributes: str) -> Markup:
    """An element; `class_` is its class. Attributes that are empty are left out."""
    pairs = (
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), visible(v)) for key, v in attributes.items() if v
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), Markup("").join(pairs), text(content))


def paragraph(content: Any, class_: str = "") -> Markup:
    return tag("p", content, class_=class_)


def chip(content: str, kind: str = "plain") -> Markup:
    """A short label of a thing."""
    return tag("span", content, class_=f"tag {kind}")


def card(*content: Any, title: str = "") -> Markup:
    """Content in a box of its own."""
    head = tag("h3", title) if title else Markup("")
    return tag("div", joined([head, *content]), class_="card prose")


def figure(chart: Markup, caption: str) -> Markup:
    """A chart with what it shows; nothing where there is no chart."""
    return tag("figure", joined([chart, tag("figcaption", caption)]), class_="card") if chart else Markup("")


def abreast(*boxes: Any) -> Markup:
    """Boxes side by side where there is room; those that are empty are left out."""
    found = [box for box in boxes if box]
    return tag("div", joined(found), class_="two") if found else Markup("")


def tiles(*facts: tuple[str, str, str]) -> Markup:
    """Figures to be seen at once: of each its name, its value and what there is to say of it."""

    def one(name: str, value: str, note: str) -> Markup:
        told = tag("dd", note, class_="note") if note else Markup("")
        return tag("div", joined([tag("dt", name), tag("dd", value), told]))

    return tag("dl", joined(one(*fact) for fact in facts), class_="tiles")


def folded(summary: str, content: Any) -> Markup:
    """Content that is shown when it is asked for."""
    return tag("details", joined([tag("summary", summary), content]))


def table(
    titles: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    *,
    caption: str,
    name: str,
    classes: str = "",
    marked: Sequence[str] = (),
    note: Any = "",
) -> Markup:
    """A table that sorts, filters and is saved as `name`.csv; the first cell of each row is its head.

    A cell is text, markup, a number or a `Cell`; None shows a dash. Cells of kind "text" stand at the left.
    `marked` are classes of the rows, in order; `note` stands after the caption.
    """
    texts = [isinstance(cell, Cell) and cell.kind.startswith("text") for cell in rows[0]] if rows else []
    head = tag("thead", tag("tr", joined(_head(t, "text" if is_text else "") for t, is_text in _paired(titles, texts))))
    kinds = [*marked, *[""] * (len(rows) - len(marked))]
    body = tag("tbody", joined(_row(row, kind) for row, kind in zip(rows, kinds, strict=True)))
    inner = tag("caption", joined([caption, note])) + head + body
    whole = tag("table", inner, class_=f"data {classes}".strip(), data_name=name)
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Sequence[tuple[str, Any]], *, caption: str) -> Markup:
    """Names and values, one pair a line."""
    rows = joined(tag("tr", tag("th", name, scope="row") + tag("td", value)) for name, value in pairs)
    inner = tag("caption", caption) + tag("tbody", rows)
    whole = tag("table", inner, class_="facts")
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def heat_map(
    titles: Sequence[str],
    rows: Sequence[tuple[Any, Sequence[float | None]]],
    *,
    caption: str,
    name: str,
    digits: int = 2,
    marked: Sequence[str] = (),
) -> Markup:
    """Numbers whose cells are the stronger coloured the larger they are; each number can be read."""
    known = [value for _, values in rows for value in values if value is not None]
    low, span = min(known, default=0.0), (max(known, default=1.0) - min(known, default=0.0)) or 1.0

    def cell(value: float | None) -> Any:
        if value is None:
            return None
        shade = (value - low) / span
        style = f"--shade: {100 * shade:.0f}%"
        return Cell(f"{value:.{digits}f}", value, kind="strong" if shade > 0.55 else "weak", style=style)

    lines = [[head, *map(cell, values)] for head, values in rows]
    return table(titles, lines, caption=caption, name=name, classes="heat", marked=marked)


def preformatted(content: str) -> Markup:
    """Text as it is laid out, such as a plan."""
    return tag("pre", content, tabindex="0")


def removed(content: str) -> Markup:
    """Text that was taken out, struck through."""
    return tag("del", content)


def shaded(content: str, share: float, title: str = "") -> Markup:
    """Words coloured by a share of 0 to 1: the larger, the stronger, such as how doubtful a sentence is."""
    style = f"--shade: {100 * min(1.0, max(0.0, share)):.0f}%"
    return tag("mark", content, style=style, title=title)


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A number as the report shows it; a dash for None."""
    return "–" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def _paired(titles: Sequence[Any], texts: Sequence[bool]) -> list[tuple[Any, bool]]:
    return list(zip(titles, [*texts, *[False] * (len(titles) - len(texts))], strict=True))


def _head(title: Any, kind: str) -> Markup:
    cell = title if isinstance(title, Cell) else Cell(title)
    return tag("th", cell.shown, scope="col", class_=kind or cell.kind, data_csv=cell.csv or "")


def _row(row: Sequence[Any], kind: str) -> Markup:
    first, *rest = row
    cells = [_cell("th", first, scope="row"), *(_cell("td", cell) for cell in rest)]
    return tag("tr", joined(cells), class_=kind)


def _cell(name: str, value: Any, **attributes: str) -> Markup:
    if not isinstance(value, Cell):
        value = Cell(value, value if isinstance(value, int | float) else None)
    shown = "–" if value.shown is None else f"{value.shown:,}" if isinstance(value.shown, int) else value.shown
    return tag(
        name,
        shown,
        class_=value.kind,
        style=value.style,
        data_sort="" if value.sort is None else str(value.sort),
        data_csv=value.csv or "",
        **attributes,
    )
