"""The process that Flower's server and clients talk to over pipes: `python -m consort.cli.flower`; see
`federate.flower` for the messages and `examples/flower` for the other side."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str]) -> None:
    """`server PLAN`, or `client NAME DATA [FOLDER]`. Answers on standard output, which nothing else may write to."""
    given, taken = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from consort.federate.flower import Member, Server, check_plan, serve

    role, *rest = arguments
    if role == "client":
        folder = Path(rest[2]) if len(rest) > 2 else None
        serve(Member(rest[0], Path(rest[1]), folder, _opened).answer, given, taken)
        return
    from consort.data.yaml import load_yaml
    from consort.federate.plan import parse_federate
    from consort.federate.setup import Setup

    plan = check_plan(parse_federate(load_yaml(Path(rest[0]))))
    serve(Server(Setup(plan), _opened(plan.model, plan.settings.seed)).answer, given, taken)


def _opened(model: Any, seed: int) -> Any:
    from consort.plan.build import Builder
    from consort.plan.expression import parse

    return Builder(seed, allow_remote_code=False).build(parse({"plan": model}).root, "checkpoint")


if __name__ == "__main__":
    main(sys.argv[1:])
