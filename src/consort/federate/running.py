"""A whole federation from a plan: clients, rounds, baselines, the result as a folder, and how all compare."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import consort
from consort.core.errors import BadData, ConsortError
from consort.core.files import check_place, machine_errors, write_atomic, write_json
from consort.core.journal import Journal, provenance
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

MODEL, PLAN, RESULTS, STATE = "model", "plan.yml", "results.json", "state.safetensors"
FEDERATED, BASE = "federated", "base"
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
        clients = _clients(setup, bench, out, stack, said)
        workers = setup.rounds.workers if plan.settings.where == "here" else len(clients)
        rounds = replace(setup.rounds, workers=max(workers, setup.rounds.workers))
        federation = Federation(
            bench.first, clients, setup.rule, rounds, out, setup.privacy, setup.secure, told, label=setup.label
        )
        federated = federation.run()
        with machine_errors(out):
            write_atomic(out / PLAN, dump_yaml(plan.to_json()))
    write_state(out / STATE, federated.state)
    kind = bench.save(federated.state, out / MODEL)
    others = {}
    if plan.settings.baselines and plan.settings.where == "here" and task is not None:
        others = baselines(setup, bench, out, said)
    comparison = None if task is None else compared(bench, federated.state, others, task, plan.settings.seed)
    outcome = Outcome(out, federated, kind, comparison)
    write_json(out / RESULTS, document(setup, bench.base, outcome))
    return outcome


def compared(bench: Bench, state: State, others: Mapping[str, State], task: Task, seed: int) -> Comparison:
    """The federated model, the base and the baselines on test; the reference is the best client alone, or the base."""
    results = [measured(bench, FEDERATED, state, task, seed), measured(bench, BASE, None, task, seed)]
    results += [measured(bench, name, other, task, seed) for name, other in others.items()]
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
    deadline = setup.rounds.deadline_s
    if where == "processes":
        tokens = {name: secrets.token_urlsafe() for name in setup.plan.clients}
        hub = stack.enter_context(_hub(setup, bench, out, tokens, "127.0.0.1", 0, deadline))
        stack.enter_context(_processes(hub.url, tokens, setup.files(out), out))
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
def _processes(url: str, tokens: Mapping[str, str], files: Mapping[str, Path], out: Path) -> Iterator[None]:
    """A process for each client, on this machine; they are ended with the run."""
    started = []
    try:
        for name, token in tokens.items():
            command = [sys.executable, "-m", "consort", "federate", "join", url, "--data", str(files[name])]
            command += ["--folder", str(out / "memory" / name)]
            environment = {**os.environ, TOKEN: token}
            log = stack_log(out, name)
            with open(log, "wb") as file:
                started.append(
                    subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
                )
        yield
        for process in started:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.terminate()
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
            process.wait()


def stack_log(out: Path, name: str) -> Path:
    """What a client's process says."""
    folder = out / "logs"
    with machine_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.txt"


def document(setup: Setup, base: Checkpoint, outcome: Outcome) -> dict[str, Any]:
    """The content of results.json."""
    federated, plan = outcome.federated, setup.plan.to_json()
    return {
        "consort": consort.__version__,
        "kind": "federate",
        "plan": plan,
        "seed": setup.seed,
        "aggregator": setup.rule.to_plan(),
        "rounds": list(federated.history),
        "stopped": federated.stopped,
        "hash": federated.hash,
        "result": {"kind": outcome.kind, "path": MODEL},
        "comparison": None if outcome.comparison is None else outcome.comparison.to_json(),
        "provenance": provenance(plan=plan, inputs=[describe(base)], seed=setup.seed),
    }
