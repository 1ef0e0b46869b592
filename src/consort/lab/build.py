"""The whole zoo, model by model: what is finished is kept, what was interrupted goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from consort.core.errors import BadParameter, OutputExists, UnknownName, did_you_mean
from consort.core.files import machine_errors
from consort.core.progress import track
from consort.lab.composition import train_compose, train_domains, train_halves, train_others
from consort.lab.core_family import train_base, train_expert, train_harmful, train_lora, train_weaver
from consort.lab.facts import train_pivot, train_teacher
from consort.lab.learning import Report
from consort.lab.manifest import NAME, read_seed, write_manifest
from consort.lab.nli import train_nli
from consort.lab.operations import SKILLS
from consort.lab.prose import train_draft, train_target
from consort.lab.reward import train_reward
from consort.lab.second_family import B_SKILLS, train_b_base, train_b_expert
from consort.lab.task_files import write_tasks


def _core(zoo: Path, seed: int, report: Report) -> None:
    train_base(zoo, seed, report)
    for word in SKILLS:
        train_expert(zoo, word, seed, report)
    train_harmful(zoo, seed, report)
    for number in range(3):
        train_weaver(zoo, number, seed, report)


def _lora(zoo: Path, seed: int, report: Report) -> None:
    for word in SKILLS:
        train_lora(zoo, word, seed, report)


def _second(zoo: Path, seed: int, report: Report) -> None:
    train_b_base(zoo, seed, report)
    for word in B_SKILLS:
        train_b_expert(zoo, word, seed, report)


def _facts(zoo: Path, seed: int, report: Report) -> None:
    train_teacher(zoo, "north", seed, report)
    train_teacher(zoo, "south", seed, report)
    train_pivot(zoo, seed, report)


def _prose(zoo: Path, seed: int, report: Report) -> None:
    train_target(zoo, seed, report)
    train_draft(zoo, seed, report)


PARTS: Mapping[str, Callable[[Path, int, Report], None]] = {
    "core": _core,
    "lora": _lora,
    "second": _second,
    "facts": _facts,
    "prose": _prose,
    "reward": train_reward,
    "nli": train_nli,
}
"""The parts of a zoo in the order in which they are trained; `lora` and `reward` start from the base of `core`."""

ON_DEMAND: Mapping[str, Callable[[Path, int, Report], None]] = {
    "compose": train_compose,
    "domains": train_domains,
    "halves": train_halves,
    "others": train_others,
}
"""Parts that are trained when they are asked for by name; each brings its own tasks and its base."""

_ALL = {**PARTS, **ON_DEMAND}


def build(zoo: Path, seed: int, parts: Collection[str] | None = None) -> Path:
    """Train `parts` (default: all of PARTS) into `zoo`, write the tasks and the manifest; returns `zoo`.

    Raises UnknownName for a part that does not exist, BadParameter if a part lacks the base it starts from,
    OutputExists if `zoo` holds anything but a zoo of this seed.
    """
    chosen = _chosen(zoo, PARTS if parts is None else parts)
    _claim(zoo, seed)
    with _calm(), machine_errors(zoo), _reporting() as report:
        if PARTS.keys() & chosen:
            write_tasks(zoo / "tasks", seed)
        for name in chosen:
            _ALL[name](zoo, seed, report)
        write_manifest(zoo, seed)
    return zoo


def _chosen(zoo: Path, parts: Collection[str]) -> list[str]:
    """The parts to train, in order."""
    for part in parts:
        if part not in _ALL:
            raise UnknownName(f"no part named {part!r}", field="parts", hint=did_you_mean(part, _ALL))
    if {"lora", "reward"} & set(parts) and "core" not in parts and not (zoo / "base").is_dir():
        raise BadParameter("lora and reward start from a base that is not there", field="parts", hint="add core")
    return [name for name in _ALL if name in parts]


def _claim(zoo: Path, seed: int) -> None:
    """Mark the folder as a zoo of this seed, so that a later call knows that it may go on in it."""
    with machine_errors(zoo):
        if zoo.exists() and any(zoo.iterdir()) and read_seed(zoo) != seed:
            hint = f"an empty folder, or the zoo of seed {seed} to go on with"
            raise OutputExists(f"holds something else than a zoo of seed {seed}", field=str(zoo), hint=hint)
        zoo.mkdir(parents=True, exist_ok=True)
        if not (zoo / NAME).exists():
            write_manifest(zoo, seed)


@contextmanager
def _calm() -> Iterator[None]:
    """One thread, so that sums come in one order whatever the machine, and no word from transformers."""
    from transformers.utils import logging

    threads, level, bar = torch.get_num_threads(), logging.get_verbosity(), logging.is_progress_bar_enabled()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


@contextmanager
def _reporting() -> Iterator[Report]:
    """A report that draws one bar a model."""
    bars: dict[str, Callable[[float], None]] = {}

    with ExitStack() as stack:

        def report(name: str, done: int, steps: int) -> None:
            if name not in bars:
                stack.close()
                bars.clear()
                bars[name] = stack.enter_context(track(name, total=steps))
                bars[name](done - 1)
            bars[name](1)

        yield report
