"""What a report shows, one registered function a file of this folder: a section of the page, or beside each answer.

    @view(title="How alike the models are", order=60)
    def zoo(report: Report, found: Any) -> Markup | None:
        "Shows `details.zoo` of results.json."

A view is given what results.json has in `details` under its name, and is left out where there is nothing. With
`on="answers"` it is given what one answer has in its own details, and stands under that answer. With `on="run"` it is
given the whole run each time (`found` is None); None shows nothing. Text is escaped by the builders of `report.parts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from consort.core.registry import Registry

if TYPE_CHECKING:
    from markupsafe import Markup

Place = Literal["details", "answers", "run"]


@dataclass(frozen=True, slots=True)
class View:
    """A registered view: `show(report, found)`, its heading, where it stands, and its place in the order of sections.

    The page's own sections have the orders 10 (scores), 15 (front), 20 (groups), 30 (winner), 40 (tried), 50 (answers),
    80 (data) and 90 (provenance).
    """

    show: Callable[[Any, Any], Markup | None]
    name: str
    title: str
    on: Place = "details"
    order: int = 60


def _view(show: Callable[..., Any], *, title: str, on: Place = "details", order: int = 60) -> View:
    return View(show, show.__name__, title, on, order)


VIEWS: Registry[View] = Registry("report_view", "consort.report.views", decorator="view", produces="report_view")
view = VIEWS.registrar(_view)


def views(on: Place) -> list[View]:
    """The views of one place, in the order of the page."""
    found = [VIEWS.get(name) for name, entry in VIEWS.entries().items() if entry.options.get("on", "details") == on]
    return sorted(found, key=lambda one: (one.order, one.name))
