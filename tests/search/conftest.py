"""A utility of points without models: questions that a point answers if it lies close enough to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from consort.search.engine.domain import Domain, coefficient_domain


@dataclass
class Near:
    """Question i is right where the point's distance to (.7, .5, -.2) is below its radius; asked questions are kept."""

    size: int = 40
    key: str = "near"
    span: tuple[float, float] | None = (0.0, 1.0)
    asked: list[int] = field(default_factory=list)

    def rows(self, model, which):
        self.asked.extend(which)
        distance = sum((a - b) ** 2 for a, b in zip(model, (0.7, 0.5, -0.2), strict=True)) ** 0.5
        return [(float(distance < 0.02 + 1.5 * ((i * 17) % self.size) / self.size), 1.0) for i in which]

    def score(self, rows):
        return sum(row[0] for row in rows) / len(rows)

    def require(self, model):
        pass


@dataclass
class Points:
    """A space whose models are the points themselves."""

    domain: Domain
    key: str = "points"

    def model(self, point):
        return tuple(point)


@pytest.fixture
def near():
    return Near()


@pytest.fixture
def points():
    return Points(coefficient_domain(["a", "b", "c"]))
