"""Routers, cascades, votes and rankers on public answers of real models: one table for each public result.

Usage: python benchmarks/routing.py [routerdc routellm zeroeval date_cascade alpaca_eval frugalgpt]

Every part is a script of benchmarks/routing by itself. Hyper-parameters are chosen on training data; the data is found
through CONSORT_SHARED or as the folder `shared` beside the repository. Methods whose papers fine-tune an encoder learn
on frozen features here. Two parts run at a time, each on one thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PARTS = Path(__file__).parent / "routing"
SHARED = Path(os.environ.get("CONSORT_SHARED", PARTS.parents[1].parent / "shared")) / "data" / "ensemble"
LONGEST_FIRST = ("routerdc", "routellm")


def run(part: Path) -> tuple[str, str, float]:
    """Name, what it printed, and seconds of wall time."""
    begun = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, part], capture_output=True, text=True, env=environment)
    return part.stem, done.stdout + (done.stderr if done.returncode else ""), time.perf_counter() - begun


def main(wanted: list[str]) -> None:
    if not SHARED.is_dir():
        sys.exit(f"no data in {SHARED}: set CONSORT_SHARED")
    parts = sorted(PARTS.glob("*.py"), key=lambda p: (p.stem not in LONGEST_FIRST, p.stem))
    begun = time.perf_counter()
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, text, seconds in pool.map(run, [p for p in parts if not wanted or p.stem in wanted]):
            print(f"== {name} ({seconds:.0f} s)\n{text}")
    print(f"all: {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
