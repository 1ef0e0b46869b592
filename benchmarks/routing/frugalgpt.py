"""E6: published accuracy and cost of single models and cascades (FrugalGPT, 2305.05176): hulls and savings."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from consort.ensemble.routing.cost_quality import aiq, hull, pareto, saving
from consort.evaluate import plain_table

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("CONSORT_SHARED", ROOT.parent / "shared")) / "data"
NAMES = ("HEADLINES", "OVERRULING", "AGNEWS", "SCIQ", "COQA")
COLUMNS = [
    "data",
    "best single",
    "$/query",
    "cascade as good",
    "$/query",
    "saving",
    "AIQ singles",
    "AIQ all",
    "on hull",
]
Points = list[tuple[float, float]]


def points(file: Path) -> tuple[Points, Points]:
    """(cost, accuracy) on test of single models and of FrugalGPT's cascades."""
    singles, cascades = [], []
    with open(file, encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            point = float(row["Test_cost"]), float(row["Test_acc"])
            (cascades if row["Method"] == "FrugalGPT" else singles).append(point)
    return singles, cascades


def tables(data: Path = SHARED / "ensemble") -> list[tuple[str, list[str], list[list[str]]]]:
    """The table of this part: title, columns, rows."""
    rows = []
    for name in NAMES:
        [file] = sorted((data / "frugalgpt" / "summary").glob(f"summary_{name}_*.csv"))
        singles, cascades = points(file)
        cost, best = max(singles, key=lambda p: (p[1], -p[0]))
        enough = [p for p in pareto(cascades) if p[1] >= best]
        low, high = (pick(c for c, _ in singles + cascades) for pick in (min, max))
        found = [f"{enough[0][1]:.4f}", f"{enough[0][0]:.6f}", f"{100 * saving(cascades, cost, best):.0f} %"]
        rows.append(
            [name, f"{best:.4f}", f"{cost:.6f}", *(found if enough else ["none", "", ""]),
             f"{aiq(singles, low, high):.4f}", f"{aiq(singles + cascades, low, high):.4f}",
             str(len(hull(singles + cascades)))]
        )  # fmt: skip
    return [("FrugalGPT's published points", COLUMNS, rows)]


def main() -> None:
    for title, columns, rows in tables():
        print(title, plain_table(columns, rows), sep="\n")


if __name__ == "__main__":
    main()
