"""Flower's server: consort's aggregators as a Strategy."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from logging import INFO
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from consort_flower.pipe import Pipe, under

app = ServerApp()
PATIENCE_S = 120.0
"""How long missing nodes are waited for at the start of a round, before it goes on with the quorum."""


def recorded(arrays: dict[str, Any]) -> ArrayRecord:
    return ArrayRecord({name: Array(arrays[name]) for name in sorted(arrays)})


class Consort(Strategy):
    """Any aggregator of consort: `consort methods --kind aggregator`, and every merge method on differences."""

    def __init__(self, pipe: Pipe, *, patience_s: float = PATIENCE_S) -> None:
        self.pipe, self.patience_s = pipe, patience_s
        self.told, tensors = pipe.ask("begin", {}, {})
        self.state, self.received = under(tensors, "state/"), under(tensors, "received/")

    def summary(self) -> None:
        log(INFO, "aggregator: %s", json.dumps(self.told["offered"].get("aggregator", "fedavg")))

    def _nodes(self, grid: Grid) -> list[int]:
        end = time.monotonic() + self.patience_s
        while True:
            nodes = sorted(grid.get_node_ids())
            if len(nodes) >= self.told["clients"]:
                return nodes
            if time.monotonic() > end and len(nodes) >= self.told["min_clients"]:
                return nodes
            time.sleep(0.5)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        told = {name: self.told[name] for name in ("offered", "round", "accepted")}
        content = {
            "arrays": arrays,
            "received": recorded(self.received),
            "config": ConfigRecord({**config, "server-round": server_round, "consort": json.dumps(told)}),
        }
        nodes = self._nodes(grid)
        log(INFO, "configure_train: %s nodes", len(nodes))
        return [
            Message(content=RecordDict(content), message_type=MessageType.TRAIN, dst_node_id=node) for node in nodes
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        said, tensors = [], {}
        for reply in replies:
            if reply.has_error():
                log(INFO, "node %s failed: %s", reply.metadata.src_node_id, reply.error.reason)
                continue
            number, content = len(said), reply.content
            said.append(json.loads(str(content["config"]["consort"])))
            for role, record in (("state", "arrays"), ("aux", "aux")):
                tensors |= {f"{number}/{role}/{n}": content[record][n].numpy() for n in content[record]}
        self.told, found = self.pipe.ask("aggregate", {"updates": said}, tensors)
        self.state, self.received = under(found, "state/"), under(found, "received/")
        log(INFO, "round %s: %s, without %s", server_round, self.told["counted"], self.told["excluded"])
        return recorded(self.state), MetricRecord({"clients": len(self.told["counted"])})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        return None


@app.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds of the plan; the result is written where `out` says."""
    config = context.run_config
    pipe = Pipe(str(config["consort-python"]), "server", str(config["plan"]))
    try:
        strategy = Consort(pipe, patience_s=float(os.environ.get("CONSORT_PATIENCE_S", PATIENCE_S)))
        told = strategy.told
        strategy.start(grid, recorded(strategy.state), num_rounds=told["rounds"], timeout=told["deadline_s"])
        saved, _ = pipe.ask("save", {"folder": str(config["out"])}, {})
        log(INFO, "%s written to %s, hash %s", saved["result"], config["out"], saved["hash"])
    finally:
        pipe.close()
