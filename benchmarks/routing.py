"""Routers, cascades, votes and rankers on public answers of real models: one table for each public result.

Usage: python benchmarks/routing.py [--full] [routerdc routellm zeroeval date_cascade alpaca_eval frugalgpt]

Every part is a script of benchmarks/routing by itself. Hyper-parameters are chosen on training data; the data is found
through CONSORT_SHARED or as the folder `shared` beside the repository. Methods whose papers fine-tune an encoder learn
on frozen features here; with `--full` one is fine-tuned as well (routerdc; what else it takes is told there). Two parts
run at a time, each on one thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PARTS = Path(__file__).parent / "routing"
SHARED = Path(os.environ.get("CONSORT_SHARED", PARTS.parents[1].parent / "shared")) / "data" / "ensemble"
NAMES = ("routerdc", "routellm", "date_cascade", "zeroeval", "alpaca_eval", "frugalgpt")
"""The longest first, so that both workers end at about the same time."""


def run(command: list[str]) -> tuple[int, str, float]:
    """Exit status, what it printed, and seconds of wall time."""
    begun = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout + (done.stderr if done.returncode else ""), time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help="default: all")
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    unknown = sorted(set(given.parts) - set(NAMES))
    if unknown:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(NAMES)}")
    if not SHARED.is_dir():
        sys.exit(f"no data in {SHARED}: set CONSORT_SHARED")
    names = [name for name in NAMES if name in given.parts or not given.parts]
    full = ["--full"] if given.full else []
    commands = [[str(PARTS / f"{name}.py"), *(full if name == "routerdc" else [])] for name in names]
    begun, failed = time.perf_counter(), False
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name, (status, text, seconds) in zip(names, pool.map(run, commands), strict=True):
            print(f"== {name} ({seconds:.0f} s)\n{text}", flush=True)
            failed = failed or status != 0
    spent = sum(os.times()[2:4])
    print(f"all: {time.perf_counter() - begun:.0f} s of wall time, {spent:.0f} s of CPU time")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
