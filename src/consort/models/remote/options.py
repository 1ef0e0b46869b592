"""The options of an endpoint, declared once: RemoteModel takes them as keywords, references as a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from consort.core.errors import BadParameter, did_you_mean
from consort.core.params import Range, check, params_of, written_number


@dataclass(frozen=True)
class Options:
    """What `RemoteModel` says of them; times are in seconds."""

    timeout_s: Annotated[float, Range(0.001, 86400)] = 120.0
    retries: Annotated[int, Range(0, 100)] = 2
    concurrency: Annotated[int, Range(1, 1024)] = 8
    api_key_env: str | None = None
    patience: Annotated[int, Range(1, 1000000)] = 5
    cooldown_s: Annotated[float, Range(0, 86400)] = 30.0


PARAMS = {p.name: p for p in params_of(Options, positional=True)}
PLAIN = tuple(PARAMS)


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as RemoteModel takes them, numbers from text too. Raises BadParameter for one unknown or out of range."""
    found = {}
    for key, value in options.items():
        if key not in PARAMS:
            raise BadParameter(f"an endpoint has no option {key!r}", field=key, hint=did_you_mean(key, PLAIN))
        given = written_number(PARAMS[key], value)
        found[key] = None if value is None and PARAMS[key].optional else check(PARAMS[key], given)
    return found
