"""What a federation is compared with, where all data are visible: every client alone, all data in one place, FedAvg,
and the plain merge of what the clients came to alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from consort.core.files import write_atomic
from consort.federate.choosing import aggregator_of
from consort.federate.clients.client import LocalClient
from consort.federate.low_rank import modules_of
from consort.federate.rounds import Federation
from consort.federate.setup import Setup
from consort.federate.state import State, Update
from consort.federate.training.bench import Bench, BenchTrainer

CENTRALISED, FEDAVG, MERGED = "centralised", "fedavg", "merge of finals"


def baselines(setup: Setup, bench: Bench, out: Path, said: Callable[[str], None]) -> dict[str, State]:
    """The baselines' states by name; each keeps its own folder, so that a killed run goes on.

    A client alone makes as many steps as it would in the federation; the centralised model reads as many examples as
    all clients together, in as many rounds, each with an optimiser begun anew.
    """
    files = setup.files(out)
    folder = out / "baselines"
    found: dict[str, State] = {}
    samples = {}
    for name, file in files.items():
        said(f"baseline: {name} alone")
        client = setup.client(name, bench, file, None)
        samples[name] = client.trainer.samples
        found[f"alone: {name}"] = _alone(setup, bench, client, folder / name)
    said("baseline: all data in one place")
    found[CENTRALISED] = _alone(setup, bench, _centralised(setup, bench, files, folder), folder / CENTRALISED)
    if setup.rule.name != "fedavg":
        said("baseline: FedAvg")
        clients = [setup.client(name, bench, file, None) for name, file in files.items()]
        found[FEDAVG] = Federation(bench.first, clients, "fedavg", setup.rounds, folder / FEDAVG).run().state
    finals = [Update(name, found[f"alone: {name}"], samples[name]) for name in files]
    found[MERGED] = merged(bench.first, finals)
    return found


def merged(base: State, finals: list[Update]) -> dict[str, Tensor]:
    """The mean of the clients' final states; of LoRA products where there are factors."""
    rule = aggregator_of("svd_lora" if modules_of(base) else "fedavg")
    return dict(rule(base, finals)[0])


def _alone(setup: Setup, bench: Bench, client: LocalClient, folder: Path) -> Mapping[str, Tensor]:
    rounds = replace(setup.rounds, per_round=None, min_clients=1, workers=1, deadline_s=None)
    return Federation(bench.first, [client], "fedavg", rounds, folder).run().state


def _centralised(setup: Setup, bench: Bench, files: Mapping[str, Path], folder: Path) -> LocalClient:
    together = folder / "all.jsonl"
    together.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(together, b"".join(file.read_bytes().rstrip(b"\n") + b"\n" for file in files.values()))
    taking_part = min(setup.rounds.per_round or len(files), len(files))
    options = replace(setup.train, steps=setup.train.steps * taking_part)
    items = setup.trainer.read(together, bench.tokenizer)
    return LocalClient(CENTRALISED, BenchTrainer(bench, setup.trainer, items, options))
