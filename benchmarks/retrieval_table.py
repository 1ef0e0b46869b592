"""What the benchmarks of retrieval share: where the data stands, a line of the table, an interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

SHARED = Path(__file__).parents[2] / "shared" / "data"


def row(name: str, value: object, target: str = "", note: str = "") -> None:
    """One line of the table."""
    shown = f"{value:.4f}" if isinstance(value, float) else str(value)
    print(f"{name:58} {shown:>12}  {target:16} {note}", flush=True)


def interval(values: Sequence[float]) -> str:
    """95 % bootstrap interval of a mean over queries."""
    rng, data = np.random.default_rng(0), np.asarray(values)
    means = data[rng.integers(0, len(data), (2000, len(data)))].mean(1)
    return f"[{np.quantile(means, 0.025):.3f}, {np.quantile(means, 0.975):.3f}]"
