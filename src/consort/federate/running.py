"""A whole federation from a plan: clients, rounds, baselines, the result as a folder, and how all compare."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consort.core.errors import BadData, BadPlan, ConsortError
from consort.core.files import check_place, machine_errors, write_atomic
from consort.core.journal import Journal, provenance
from consort.core.progress import watched
from consort.core.results import write_results
from consort.data import dump_yaml
from consort.data.task import Task
from consort.evaluate import Comparison, Result, compare, evaluate
from consort.federate.baselines import baselines
from consort.federate.clients.client import Client
from consort.federate.http.hub import Hub
from consort.federate.plan import FederatePlan
from consort.federate.prompted import PromptedModel
from consort.federate.rounds import STATES, Federated, Federation, run_key
from consort.federate.setup import Setup
from consort.federate.state import State, write_state
from consort.federate.training.bench import Bench
from consort.models.hf.loading import load_model
from consort.weights import describe
from consort.weights.checkpoint import Checkpoint

MODEL, PLAN, STATE = "model", "plan.yml", "state.safetensors"
FEDERATED, BASE = "federated", "base"
LONGEST_S = 86400.0
"""How long a client elsewhere is waited for where the plan names no deadline."""
TOKEN = "CONSORT_TOKEN"
"""The environment variable that tells a client its token."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The folder of a run, the federation, what kind of result it wrote, and how it compares, if there is a task."""

    folder: Path
    federated: Federated
    kind: str
    comparison: Comparison | None

    @property
    def headline(self) -> str:
        """One sentence: the federated model against the best client alone, or against the base."""
        rounds = len(self.federated.history)
        if self.comparison is None:
            return f"{rounds} rounds; no task was given, so nothing was measured"
        one = next(s for s in self.comparison.systems if s.result.model == FEDERATED)
        if one.difference is None:
            return f"{rounds} rounds; the federated model is the reference"
        low, high = one.difference.interval
        value = f"{one.difference.value:+.3f} [{low:+.3f}, {high:+.3f}]"
        return f"{rounds} rounds; the federated model against {self.comparison.reference}: {value} on test"


def federate(
    plan: FederatePlan,
    out: Path,
    *,
    open_model: Callable[[Any], Checkpoint],
    open_task: Callable[[str], Task],
    force: bool = False,
    told: Callable[[Mapping[str, Any]], None] = lambda line: None,
    said: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Run a plan into the folder `out`; killed and run again it goes on where it was.

    `told` gets the line of each round, `said` what a person at the terminal should know. Raises ConsortError, before
    any work, for inputs that cannot be used.
    """
    if plan.settings.where == "flower":
        hint = "flwr run examples/flower, see docs/federation.md; or where: here"
        raise BadPlan("its rounds are Flower's, in an environment of its own", field="plan.where", hint=hint)
    check_place(out)
    setup = Setup(plan)
    task = None if plan.settings.task is None else open_task(plan.settings.task)
    base = open_model(plan.model)
    bench = setup.bench(base)
    is_new = not out.exists()
    try:
        return _run(setup, bench, out, task, force=force, told=told, said=said)
    except ConsortError as fault:
        if is_new and fault.exit_code == 2 and not (out / STATES).is_dir():
            shutil.rmtree(out, ignore_errors=True)
        raise


def _run(
    setup: Setup,
    bench: Bench,
    out: Path,
    task: Task | None,
    *,
    force: bool,
    told: Callable[[Mapping[str, Any]], None],
    said: Callable[[str], None],
) -> Outcome:
    plan = setup.plan
    key = run_key(bench.first, list(plan.clients), setup.rule, setup.rounds, setup.privacy, setup.secure, setup.label)
    journal = Journal(out, key, force=force, sound=lambda line: True)
    journal.open()
    with ExitStack() as stack:
        watch = stack.enter_context(watched(out, "federate"))
        clients = _clients(setup, bench, out, stack, said)
        watch.phase("rounds", setup.rounds.rounds)

        def passed(line: Mapping[str, Any]) -> None:
            watch.tell(line["round"] + 1.0)
            told(line)

        workers = setup.rounds.workers if plan.settings.where == "here" else len(clients)
        rounds = replace(setup.rounds, workers=max(workers, setup.rounds.workers))
        federation = Federation(
            bench.first, clients, setup.rule, rounds, out, setup.privacy, setup.secure, passed, label=setup.label
        )
        federated = federation.run()
        with machine_errors(out):
            write_atomic(out / PLAN, dump_yaml(plan.to_json()))
    write_state(out / STATE, federated.state)
    kind = bench.save(federated.state, out / MODEL)
    others = {}
    if plan.settings.baselines and plan.settings.where == "here" and task is not None:
        others = baselines(setup, bench, out, said)
    results = [] if task is None else measured_all(bench, federated.state, others, task, plan.settings.seed)
    comparison = compared(results, plan.settings.seed) if results else None
    outcome = Outcome(out, federated, kind, comparison)
    write_results(out, "federate", content_of(setup, bench.base, outcome, results, task))
    return outcome


def measured_all(bench: Bench, state: State, others: Mapping[str, State], task: Task, seed: int) -> list[Result]:
    """The federated model, the base and the baselines on test."""
    results = [measured(bench, FEDERATED, state, task, seed), measured(bench, BASE, None, task, seed)]
    return results + [measured(bench, name, other, task, seed) for name, other in others.items()]


def compared(results: Sequence[Result], seed: int) -> Comparison:
    """All against the best client alone, or, without one, against the base."""
    alone = [result for result in results if result.model.startswith("alone: ")]
    best = max(alone, key=lambda result: result.score, default=results[1])
    return compare(results, reference=best.model, seed=seed)


def measured(bench: Bench, name: str, state: State | None, task: Task, seed: int) -> Result:
    """The score of a state on test."""
    if state is None:
        model: Any = load_model(bench.base, name=name)
    elif bench.trainable.what == "prompt":
        model = PromptedModel(bench.base, state["prompt"], name=name)
    else:
        model = load_model(bench.trained(state), name=name)
    return evaluate(model, task, split="test", seed=seed)


def _clients(setup: Setup, bench: Bench, out: Path, stack: ExitStack, said: Callable[[str], None]) -> Sequence[Client]:
    where = setup.plan.settings.where
    if where == "here":
        files = setup.files(out)
        return [setup.client(name, bench, file, out / "memory" / name) for name, file in files.items()]
    deadline = setup.rounds.deadline_s or LONGEST_S
    if where == "processes":
        tokens = {name: secrets.token_urlsafe() for name in setup.plan.clients}
        hub = stack.enter_context(_hub(setup, bench, out, tokens, "127.0.0.1", 0, deadline))
        stack.enter_context(_processes(hub, tokens, setup.files(out), out))
        return hub.clients
    serve = setup.serve
    assert serve is not None  # the plan was checked
    tokens = read_tokens(Path(serve.tokens), list(setup.plan.clients))
    hub = stack.enter_context(_hub(setup, bench, out, tokens, serve.host, serve.port, deadline))
    said(f"serving {len(tokens)} clients at {hub.url}")
    return hub.clients


@contextmanager
def _hub(
    setup: Setup, bench: Bench, out: Path, tokens: Mapping[str, str], host: str, port: int, deadline: float | None
) -> Iterator[Hub]:
    serve = setup.serve
    hub = Hub(
        tokens,
        out / "incoming",
        setup.offered(bench.base),
        host=host,
        port=port,
        certificate=Path(serve.certificate) if serve and serve.certificate else None,
        key=Path(serve.key) if serve and serve.key else None,
        limits=setup.limits,
        deadline_s=deadline,
    )
    hub.start()
    try:
        yield hub
        hub.farewell()
    finally:
        hub.close()


def read_tokens(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The clients' tokens, one `NAME TOKEN` a line. Raises BadData, which never repeats a token."""
    if not path.is_file():
        hint = (
            "a file with one `NAME TOKEN` a line; a token: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
        raise BadData("no such file", field=str(path), hint=hint)
    if path.stat().st_mode & 0o077:
        raise BadData("others can read it", field=str(path), hint=f"chmod 600 {path}")
    found = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, _, token = line.strip().partition(" ")
        if not token.strip():
            raise BadData("not `NAME TOKEN`", field=f"{path}:{number}", hint="a name, a space, a token")
        found[name] = token.strip()
    missing = [name for name in names if name not in found]
    if missing:
        raise BadData(f"no token for {', '.join(missing[:10])}", field=str(path), hint="add a line for each client")
    return {name: found[name] for name in names}


@contextmanager
def _processes(hub: Hub, tokens: Mapping[str, str], files: Mapping[str, Path], out: Path) -> Iterator[None]:
    """A process for each client, on this machine; they are ended with the run. One that dies is left out."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            for name, process in list(started.items()):
                if process.poll() is not None and not hub.is_done.is_set():
                    hub.boxes[name].lied(f"its process ended: see {log_of(out, name)}")

    try:
        for name, token in tokens.items():
            command = [sys.executable, "-m", "consort", "federate", "join", hub.url, "--data", str(files[name])]
            command += ["--folder", str(out / "memory" / name)]
            environment = {**os.environ, TOKEN: token}
            log = log_of(out, name)
            with open(log, "wb") as file:
                started[name] = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
                )
        threading.Thread(target=watch, daemon=True).start()
        yield
        for process in started.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.terminate()
    finally:
        over.set()
        for process in started.values():
            if process.poll() is None:
                process.terminate()
            process.wait()


def log_of(out: Path, name: str) -> Path:
    """What a client's process says."""
    folder = out / "logs"
    with machine_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.txt"


def content_of(
    setup: Setup, base: Checkpoint, outcome: Outcome, results: Sequence[Result], task: Task | None
) -> dict[str, Any]:
    """The content of results.json."""
    federated, plan = outcome.federated, setup.plan.to_json()
    comparison = outcome.comparison
    content: dict[str, Any] = {
        "seed": setup.seed,
        "base": base.name,
        "notes": [f"stopped by the {federated.stopped}"] if federated.stopped != "rounds" else [],
        "winner": {
            "name": FEDERATED,
            "kind": "federated",
            "plan": plan,
            "path": MODEL,
            "against": None if comparison is None else comparison.reference,
        },
        "test": [result.to_json() for result in results],
        "details": {
            "federation": {
                "aggregator": setup.rule.to_plan(),
                "rounds": list(federated.history),
                "stopped": federated.stopped,
                "hash": federated.hash,
                "result": outcome.kind,
            }
        },
        "provenance": provenance(plan=plan, inputs=[describe(base)], seed=setup.seed),
    }
    if task is not None:
        sizes = {"dev": len(task.dev), "test": len(task.test)}
        content["task"] = {"name": task.name, "metric": task.metric, "key": task.key, **sizes}
    return content
