"""A process of consort at the other end of two pipes; each message is a length (8 bytes) and a safetensors document."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import numpy as np
from safetensors.numpy import load, save

META = "consort"


class ConsortFailed(Exception):
    """consort refused or ended; the message says why."""


class Pipe:
    """`python -m consort.cli.flower ARGUMENTS` in consort's own environment."""

    def __init__(self, python: str, *arguments: str) -> None:
        command = [python, "-m", "consort.cli.flower", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, kind: str, meta: dict[str, Any], tensors: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict]:
        """Plain values and arrays of the answer. Raises ConsortFailed."""
        assert self.process.stdin and self.process.stdout
        text = json.dumps({"kind": kind, **meta})
        content = save({n: np.ascontiguousarray(t) for n, t in tensors.items()}, metadata={META: text})
        try:
            self.process.stdin.write(len(content).to_bytes(8, "big") + content)
            self.process.stdin.flush()
            head = self.process.stdout.read(8)
            answer = self.process.stdout.read(int.from_bytes(head, "big"))
        except BrokenPipeError:
            head = b""
        if len(head) < 8:
            raise ConsortFailed(f"consort ended with {self.process.wait()}; what it said stands above")
        size = int.from_bytes(answer[:8], "little")
        found = json.loads(json.loads(answer[8 : 8 + size])["__metadata__"][META])
        if found["kind"] == "error":
            raise ConsortFailed(found["message"])
        return found, load(answer)

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def under(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
