"""Headers changed at random, value by value and byte by byte, judged by this reader and by the safetensors library.

`CONSORT_FUZZ` is the number of headers; a million is run on demand.
"""

from __future__ import annotations

import json
import os
import random
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import deserialize
from safetensors.torch import save

from consort.core.errors import BadCheckpoint
from consort.weights.disk.header import read_header

HEADERS = int(os.environ.get("CONSORT_FUZZ", "3000"))
STRICTER = ("occurs twice", "described by no JSON object", "unknown dtype {")
"""Faults that only this reader refuses, as its docstring says."""
VALUES: list[Any] = [None, True, 0, -1, 1, 3, 2**32, 2**63, 2**64 - 1, 2**64, 0.5, 1e308, "", "F32", "BF16", "F4", "\0"]
VALUES += ["é", [], [0], [[1]], [2, 2], [0, 8], [8, 0], [0, 2**64], {}, {"dtype": "F32"}, "x" * 300]


def model() -> bytes:
    """A small file as the library writes it."""
    shapes = {"model.embed_tokens.weight": (3, 2), "model.norm.weight": (2,), "empty": (0, 4), "scalar": ()}
    return save({name: torch.ones(shape) for name, shape in shapes.items()}, metadata={"format": "pt"})


def changed_value(value: Any, rng: random.Random) -> Any:
    """`value` with one part of it, at any depth, replaced, removed, copied or renamed."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(VALUES)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        parts = ([changed_value(value[place], rng)], [], [value[place]] * 2)
        return value[:place] + rng.choice(parts) + value[place + 1 :]
    key = rng.choice(list(value))
    kind, rest = rng.random(), {k: v for k, v in value.items() if k != key}
    if kind < 0.7:
        return value | {key: changed_value(value[key], rng)}
    if kind < 0.8:
        return rest
    return (rest if kind < 0.9 else value) | {rng.choice(["dtype", "shape", "__metadata__", "new", key]): value[key]}


def changed_bytes(raw: bytes, rng: random.Random) -> bytes:
    """`raw` with a byte changed, or a part removed or repeated."""
    start = rng.randrange(len(raw))
    stop = min(len(raw), start + rng.choice([1, 1, 1, 2, 5, 40]))
    parts = (
        bytes([rng.randrange(256)]),
        b"",
        raw[start:stop] * 2,
        rng.choice([b" ", b"0", b"-", b"e1", b'\\"', b"\xed"]),
    )
    return raw[:start] + rng.choice(parts) + raw[stop:]


def changed(source: bytes, rng: random.Random) -> bytes:
    """A whole file: up to three changes of its header, sometimes one of its length or its data."""
    length = int.from_bytes(source[:8], "little")
    raw, data = source[8 : 8 + length], source[8 + length :]
    header = json.loads(raw)
    for _ in range(rng.randint(0, 3)):
        header = changed_value(header, rng)
    raw = json.dumps(header, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice([0, 0, 1, 2])):
        raw = changed_bytes(raw, rng) or b" "
    data = data[: len(data) + rng.choice([0, 0, 0, 0, 0, 0, -1, -4])] + bytes(rng.choice([0, 0, 0, 0, 0, 0, 1, 8]))
    size = (len(raw) + rng.choice([0] * 30 + [1, -1, 2**40, 2**63])) % 2**64
    return size.to_bytes(8, "little") + raw + data


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    try:
        read_header(path)
    except BadCheckpoint as fault:
        return fault.message
    return ""


def accepted_by_library(content: bytes) -> bool:
    try:
        deserialize(content)
    except Exception:
        return False
    return True


@pytest.mark.parametrize("seed", range(2))
def test_changed_headers_are_judged_as_the_library_judges_them(seed: int, tmp_path: Path) -> None:
    rng, source, accepted = random.Random(seed), model(), 0
    for _ in range(HEADERS // 2):
        content = changed(source, rng)
        fault = refused(tmp_path / "x", content)
        if not any(text in fault for text in STRICTER):
            assert (fault == "") == accepted_by_library(content), (fault, content)
            accepted += fault == ""
    assert HEADERS // 50 < accepted < HEADERS // 3


def test_reading_headers_again_and_again_takes_no_memory(tmp_path: Path) -> None:
    rng, source = random.Random(5), model()
    for round_ in range(2):
        for _ in range(HEADERS // 4):
            refused(tmp_path / "x", changed(source, rng))
        if round_ == 0:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes
