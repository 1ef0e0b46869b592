"""Flower's client: trains with consort on rows that stay on its machine.

The node says who it is and where its rows are: --node-config 'name="ann" data="ann.jsonl" consort-python="python"'.
"""

from __future__ import annotations

import json

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from consort_flower.pipe import Pipe, under

app = ClientApp()
AUX = "aux"


@app.train()
def train(message: Message, context: Context) -> Message:
    """The update that answers a round's task."""
    node = context.node_config
    folder = [str(node["folder"])] if "folder" in node else []
    pipe = Pipe(str(node.get("consort-python", "python")), "client", str(node["name"]), str(node["data"]), *folder)
    try:
        content = message.content
        tensors = {
            f"{role}/{name}": content[record][name].numpy()
            for role, record in (("state", "arrays"), ("received", "received"))
            for name in content[record]
        }
        said, found = pipe.ask("fit", json.loads(str(content["config"]["consort"])), tensors)
    finally:
        pipe.close()
    records = {role: ArrayRecord({n: Array(t) for n, t in under(found, f"{role}/").items()}) for role in ("state", AUX)}
    answer = {
        "arrays": records["state"],
        AUX: records[AUX],
        "metrics": MetricRecord({"num-examples": int(said["samples"]), **said["metrics"]}),
        "config": ConfigRecord({"consort": json.dumps({k: v for k, v in said.items() if k != "kind"})}),
    }
    return Message(content=RecordDict(answer), reply_to=message)
