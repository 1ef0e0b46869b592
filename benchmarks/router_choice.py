"""Choosing among routers against keeping the best single model, over many draws of what there is to learn from.

Usage: python benchmarks/router_choice.py [--seeds 40] [--learn 400] [--only NAME…]

Of each data set so many queries are drawn to choose and fit on (half of them where there are fewer), and everything is
judged on the others. The best single model is that of the same draw. `loss` is what the router lost on average, below
zero a gain; `bound` what the test guarantees, a mean over draws.
"""

from __future__ import annotations

import argparse
import runpy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from consort.ensemble.before.auto_router import AutoRouter
from consort.ensemble.learning.observations import Observed
from consort.evaluate import plain_table
from consort.models import FakeModel

PARTS = Path(__file__).parent / "routing"
COLUMNS = ["data", "models", "learned on", "taken", "best single", "router", "loss", "se of loss", "bound", "CPU s"]


def part(name: str) -> dict[str, object]:
    """The script of one public result, whose reader of the data is used."""
    return runpy.run_path(str(PARTS / f"{name}.py"))


def routerdc() -> Observed:
    script = part("routerdc")
    return script["read"](script["SHARED"] / "ensemble" / "routerdc" / "split2_model7", script["TRAIN"])  # type: ignore


def routellm() -> Observed:
    return part("routellm")["observed"]()  # type: ignore


def zeroeval() -> Observed:
    script = part("zeroeval")
    data = script["observed"]()  # type: ignore
    return data.columns([data.models.index(name) for name in script["SMALL"]])  # type: ignore


def alpaca_eval() -> Observed:
    return part("alpaca_eval")["observed"]()  # type: ignore


def shuffled() -> Observed:
    """RouterDC's queries with answers of others: there is nothing to learn."""
    data = routerdc()
    rows = np.random.default_rng(0).permutation(len(data))
    return replace(data, quality=data.quality[rows], groups=())


DATA: dict[str, Callable[[], Observed]] = {
    "routerdc": routerdc,
    "routellm": routellm,
    "zeroeval": zeroeval,
    "alpaca_eval": alpaca_eval,
    "shuffled": shuffled,
}


def drawn(data: Observed, seed: int, learn: int) -> tuple[Observed, Observed]:
    """Queries to learn from and queries to judge on; equal prompts together."""
    rng = np.random.default_rng(seed)
    texts = list(dict.fromkeys(data.queries))
    seen = {texts[i] for i in rng.permutation(len(texts))[: min(learn, len(texts) // 2)]}
    inside = np.array([query in seen for query in data.queries])
    return data.rows(np.flatnonzero(inside)), data.rows(np.flatnonzero(~inside))


def one(data: Observed, seed: int, learn: int) -> tuple[str, float, float, float]:
    """What was taken, what the best single model and the router reach on the other queries, and the bound."""
    fit, rest = drawn(data, seed, learn)
    router = AutoRouter([FakeModel({}, name=name) for name in data.models]).fit(fit, seed=seed)
    told = router.learned_values["told"]
    single = float(rest.quality[:, fit.ranking()[0]].mean())
    got = single if told["taken"] is None else float(router.replay(rest).quality.mean())
    return told["taken"] or "best single", single, got, told["bound"]


def row(name: str, data: Observed, seeds: int, learn: int) -> list[str]:
    """The line of one data set."""
    begun = time.process_time()
    taken, singles, got, bounds = zip(*(one(data, seed, learn) for seed in range(seeds)), strict=True)
    losses = np.array(singles) - np.array(got)
    routed = sum(name != "best single" for name in taken)
    size = min(learn, len(set(data.queries)) // 2)
    error = losses.std(ddof=1) / np.sqrt(seeds)
    figures = [np.mean(singles), np.mean(got), losses.mean(), error, np.mean(bounds)]
    shown = [f"{value:.4f}" for value in figures]
    return [
        name,
        str(len(data.models)),
        str(size),
        f"{routed} of {seeds}",
        *shown,
        f"{time.process_time() - begun:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--learn", type=int, default=400)
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA))
    given = parser.parse_args()
    rows = []
    for name in given.only:
        rows.append(row(name, DATA[name](), given.seeds, given.learn))
        print(*rows[-1], sep="  ", flush=True)
    print(plain_table(COLUMNS, rows))


if __name__ == "__main__":
    main()
