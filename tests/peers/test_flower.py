"""Flower 1.42 carries a federation: a SuperLink and two SuperNodes on loopback come to the run in one process.

Runs where CONSORT_FLOWER names the Python of an environment of its own that has Flower:

    python -m venv /tmp/flower && /tmp/flower/bin/pip install flwr==1.42.0 numpy safetensors
    CONSORT_FLOWER=/tmp/flower/bin/python pytest tests/peers/test_flower.py
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from consort.federate.flower import Server, check_plan, serve
from consort.federate.plan import parse_federate

PYTHON = os.environ.get("CONSORT_FLOWER")
APP = Path(__file__).parents[2] / "examples" / "flower"
ROWS = {"ann": ["mirror: a b = b a", "mirror: c d = d c"], "bob": ["order: b a = a b", "order: d c = c d", "x"]}
PLAN = {
    "model": "lab:base",
    "clients": ["ann", "bob"],
    "where": "flower",
    "trainable": {"rank": 2},
    "train": {"steps": 2, "batch": 2, "lr": 0.01},
    "aggregator": "svd_lora",
    "rounds": {"rounds": 3, "min_clients": 1, "deadline_s": 600},
}


@pytest.fixture
def place(tmp_path):
    for name, rows in ROWS.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    (tmp_path / "plan.yml").write_text(yaml.safe_dump(PLAN))
    return tmp_path


def in_one_process(place, rule="svd_lora"):
    """The adapter that the same plan ends with here."""
    from consort.federate.rounds import Federation
    from consort.federate.setup import Setup
    from consort.lab import path
    from consort.weights import open_checkpoint

    files = {name: str(place / f"{name}.jsonl") for name in ROWS}
    plan = parse_federate({**PLAN, "clients": files, "where": "here", "aggregator": rule})
    setup = Setup(plan)
    bench = setup.bench(open_checkpoint(path("base")))
    clients = [setup.client(name, bench, Path(file), None) for name, file in files.items()]
    done = Federation(bench.first, clients, setup.rule, setup.rounds).run()
    bench.save(done.state, place / "here")
    return done


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def until_it_listens(port: int, timeout_s: float = 300) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with socket.socket() as own:
            if own.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"nobody listens on {port}")


class Deployment:
    """A SuperLink and SuperNodes as processes; all end with the block."""

    def __init__(self, place: Path) -> None:
        self.place, self.bin = place, Path(str(PYTHON)).parent
        self.link, self.running = free_port(), {}
        home = place / "flwr"
        home.mkdir()
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "own"\n\n[superlink.own]\naddress = "127.0.0.1:{self.link}"\ninsecure = true\n'
        )
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.env = {**kept, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "PATH": path}
        self.env |= {"CONSORT_PATIENCE_S": "10"}
        self.app = place / "app"
        shutil.copytree(APP, self.app, ignore=shutil.ignore_patterns("__pycache__"))

    def start(self, name: str, *command: str) -> None:
        with (self.place / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [str(self.bin / command[0]), *command[1:]], env=self.env, stdout=log, stderr=log, cwd=self.place
            )

    def __enter__(self) -> Deployment:
        flags = ["--insecure", "--disable-runtime-dependency-installation"]
        self.start("superlink", "flower-superlink", *flags, "--port", str(self.link))
        until_it_listens(self.link)
        for name in ROWS:
            node = f'name="{name}" data="{self.place / name}.jsonl" consort-python="{wrapped(self.place)}"'
            where = ["--superlink", f"127.0.0.1:{self.link}", "--port", str(free_port())]
            self.start(name, "flower-supernode", "--insecure", *where, "--node-config", node)
        return self

    def __exit__(self, *fault: object) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, out: Path, timeout_s: float = 1800) -> str:
        """One run of the plan; what the server said."""
        given = f'plan="{self.place / "plan.yml"}" out="{out}" consort-python="{wrapped(self.place)}"'
        command = [str(self.bin / "flwr"), "run", str(self.app), "own", "--stream", "--run-config", given]
        said = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=timeout_s, cwd=self.place, check=False
        )
        return said.stdout + said.stderr


def wrapped(place: Path) -> Path:
    """consort's Python with this checkout on its path, whatever environment starts it."""
    file = place / "consort-python"
    if not file.exists():
        source = Path(__file__).parents[2] / "src"
        lines = ["#!/bin/sh", f"export PYTHONPATH={source} HF_HUB_OFFLINE=1", f'exec {sys.executable} "$@"', ""]
        file.write_text("\n".join(lines))
        file.chmod(0o755)
    return file


@pytest.mark.skipif(not PYTHON, reason="CONSORT_FLOWER does not name a Python that has Flower 1.42")
def test_flower_comes_to_the_run_in_one_process_and_goes_on_without_a_node(place) -> None:
    begun = time.monotonic()
    wanted = in_one_process(place)
    with Deployment(place) as flower:
        said = flower.run(place / "out")
        assert (place / "out" / "adapter_model.safetensors").is_file(), said
        found, here = (load_file(place / name / "adapter_model.safetensors") for name in ("out", "here"))
        assert found.keys() == here.keys()
        for name, tensor in here.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-7, rtol=0)
        print(f"three rounds: {time.monotonic() - begun:.1f} s, hash {wanted.hash}")
        flower.running["bob"].kill()
        flower.running["bob"].wait()
        once = {**PLAN, "rounds": {"rounds": 1, "min_clients": 1, "deadline_s": 240}}
        (place / "plan.yml").write_text(yaml.safe_dump(once))
        said = flower.run(place / "quorum")
        assert (place / "quorum" / "adapter_model.safetensors").is_file(), said


DRIVER = """
import json, sys
from flwr.app import Context, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from consort_flower import client_app, server_app
from consort_flower.pipe import Pipe

TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
place, python, names, silent = json.loads(sys.argv[1])
own = {
    i + 1: Context(0, i + 1, {"name": n, "data": f"{place}/{n}.jsonl", "consort-python": python}, RecordDict(), {})
    for i, n in enumerate(names)
}

class Grid:
    rounds = 0
    def get_node_ids(self):
        return list(own)
    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        self.rounds += bool(messages)
        if self.rounds == silent:
            messages = messages[:1]
        found = []
        for number, message in enumerate(messages):
            message.metadata._message_id = f"m{number}"
            found.append(client_app.app(message, own[message.metadata.dst_node_id]))
        return found

pipe = Pipe(python, "server", f"{place}/plan.yml")
strategy = server_app.Consort(pipe)
strategy.start(Grid(), server_app.recorded(strategy.state), num_rounds=strategy.told["rounds"])
print(json.dumps(pipe.ask("save", {"folder": f"{place}/out"}, {})[0]))
pipe.close()
"""


@pytest.mark.skipif(not PYTHON, reason="CONSORT_FLOWER does not name a Python that has Flower 1.42")
@pytest.mark.parametrize("silent", [0, 3])
def test_flowers_strategy_and_client_app_come_to_the_run_in_one_process(place, silent) -> None:
    """Flower's own messages and records, without its network; in round `silent` one node does not answer."""
    (place / "driver.py").write_text(DRIVER)
    given = json.dumps([str(place), str(wrapped(place)), list(ROWS), silent])
    env = {**os.environ, "PYTHONPATH": str(APP)}
    command = [str(PYTHON), str(place / "driver.py"), given]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = load_file(place / "out" / "adapter_model.safetensors")
    in_one_process(place)
    here = load_file(place / "here" / "adapter_model.safetensors")
    worst = max(float((found[name] - here[name]).abs().max()) for name in here)
    assert found.keys() == here.keys()
    assert (worst <= 1e-7) == (silent == 0), worst
    print(f"largest difference {worst:.2g}")


def pieces(*messages):
    """Messages as they come over a pipe."""
    import io

    packed = [message.packed() for message in messages]
    return io.BytesIO(b"".join(len(one).to_bytes(8, "big") + one for one in packed))


def test_the_servers_side_checks_what_it_is_told(place) -> None:
    """Over the pipe's own messages, without Flower: who is no client, an old round and a wrong shape do not count."""
    import io

    from consort.federate.setup import Setup
    from consort.federate.wire import Message
    from consort.lab import path
    from consort.weights import open_checkpoint

    server = Server(Setup(check_plan(parse_federate(PLAN))), open_checkpoint(path("base")))
    state = server.state
    said = {"samples": 2, "steps": 1, "lr": 0.1, "metrics": {}, "round": 0}
    names = ["ann", "eve", "bob"]
    updates = [{**said, "client": name} for name in names]
    updates[2]["round"] = 5
    tensors = {f"{i}/state/{n}": t + 0.5 for i in range(3) for n, t in state.items()}
    found = server.answer(Message("aggregate", {"updates": updates}, tensors))
    assert found.meta["counted"] == ["ann"] and server.round == 1
    assert set(found.meta["excluded"]) == {"eve", "bob"} and "replay" in found.meta["excluded"]["bob"]
    wrong = {f"0/state/{n}": t[:1] for n, t in state.items()}
    out = io.BytesIO()
    serve(server.answer, pieces(Message("aggregate", {"updates": [{**said, "round": 1, "client": "ann"}]}, wrong)), out)
    assert b"shape" in out.getvalue() and b"error" in out.getvalue() and server.round == 1


@pytest.mark.parametrize(
    "wrong", [{"secure": {}}, {"privacy": {"z": 1.0, "clip": 1.0}}, {"rounds": {"per_round": 1}}, {"where": "here"}]
)
def test_what_flower_does_not_carry_is_refused(wrong, place) -> None:
    from consort.core.errors import BadPlan

    files = {name: str(place / f"{name}.jsonl") for name in ROWS}
    clients = files if wrong.get("where") == "here" else PLAN["clients"]
    with pytest.raises(BadPlan):
        check_plan(parse_federate({**PLAN, "clients": clients, **wrong}))
