"""Exact answers kept: of requests that would be answered in the same words again (temperature 0, or a seed)."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import Any

from consort.server.http import Reply
from consort.server.request import Request


class Cache:
    """The last `size` whole answers, by path and body."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[bytes, Reply] = OrderedDict()

    def get(self, path: str, fields: Any, request: Request) -> Reply | None:
        if not _repeats(fields, request):
            return None
        found = self._kept.get(_key(path, fields))
        if found is not None:
            self._kept.move_to_end(_key(path, fields))
        return found

    def put(self, path: str, fields: Any, request: Request, reply: Reply) -> None:
        if not _repeats(fields, request) or "x-consort-degraded" in reply.headers:
            return
        self._kept[_key(path, fields)] = reply
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)


def _repeats(fields: Any, request: Request) -> bool:
    return not request.stream and (request.sampling.temperature == 0 or fields.get("seed") is not None)


def _key(path: str, fields: Any) -> bytes:
    return hashlib.sha256(json.dumps([path, fields], sort_keys=True).encode()).digest()
