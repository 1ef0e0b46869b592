"""A client made of what a server offers: the same model, the same training, this client's own rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consort.core.errors import BadData, ConsortError, Incompatible
from consort.core.kinds import made
from consort.core.params import bind, params_of
from consort.federate.clients.client import ClientMemory, LocalClient
from consort.federate.training.bench import Bench, BenchTrainer, Trainable
from consort.federate.training.options import LocalTraining
from consort.weights.checkpoint import Checkpoint
from consort.weights.stats import fingerprint


def member_of(
    name: str, plan: Mapping[str, Any], base: Checkpoint, data: Path, folder: Path | None = None
) -> LocalClient:
    """The client `name` of a federation; what it must remember lies in `folder`.

    Raises Incompatible where the base is not the server's, BadData for a plan that cannot be read.
    """
    if fingerprint(base) != plan.get("fingerprint"):
        hint = "point --model at the same weights"
        raise Incompatible("is not the model that the server trains", field=base.name, hint=hint)
    try:
        trainable = _options(Trainable, plan.get("trainable"))
        training = _options(LocalTraining, plan.get("train"))
        trainer = made("trainer", plan.get("trainer", "sft"), "trainer")
    except (ConsortError, TypeError, AttributeError) as fault:
        raise BadData(
            f"a plan that cannot be followed: {fault}", field="server", hint="is it of this version?"
        ) from None
    bench = Bench(base, trainable, seed=int(plan.get("seed", 0)), fixed=bool(plan.get("fixed")))
    items = trainer.read(data, bench.tokenizer)
    return LocalClient(name, BenchTrainer(bench, trainer, items, training), ClientMemory(folder))


def _options(kind: type[Any], given: Any) -> Any:
    return kind(**bind(kind.__name__, params_of(kind, positional=True), given or {}))
