"""Every named malformed input of the safetensors library, mutated headers against it, and header bombs."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import deserialize

from consort.core.errors import BadCheckpoint
from consort.weights.checkpoint import Spec
from consort.weights.disk.codes import BITS
from consort.weights.disk.header import encode, read_header

MUTATIONS = int(os.environ.get("CONSORT_FUZZ", "4000"))
ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
STRICTER = ("occurs twice", "described by no JSON object", "unknown dtype {")


def image(header: Any, data: int = 4, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + bytes(data)


def verdict(path: Path, content: bytes) -> str:
    """The message of the error, empty if the file is accepted."""
    path.write_bytes(content)
    try:
        read_header(path)
    except BadCheckpoint as error:
        assert error.field == str(path) and error.hint
        return error.message
    return ""


def library_accepts(content: bytes) -> bool:
    try:
        deserialize(content)
    except Exception:
        return False
    return True


MALFORMED: dict[str, tuple[bytes, str]] = {
    "zero byte file": (b"", "too short for a safetensors file, 0 bytes"),
    "too small": (b"\1\0\0", "too short for a safetensors file, 3 bytes"),
    "length beyond the file": (image({}, 0, 100), "should have 100 bytes, the file has 2"),
    "length 2^62": (image({}, 0, 1 << 62), "should have 4611686018427387904 bytes"),
    "length 2^63": (image({}, 0, 1 << 63), "should have 9223372036854775808 bytes"),
    "empty header": (image(b"", 0), "no JSON"),
    "not UTF-8": (image(b"{\xff}", 0), "no UTF-8 (byte 1)"),
    "not JSON": (image(b"{", 0), "no JSON"),
    "no object": (image([], 0), "no JSON object"),
    "truncated data": (image({"a": ONE}, 3), "should have 4 bytes, the file has 3"),
    "bytes at the end": (image({"a": ONE}, 5), "should have 4 bytes, the file has 5"),
    "shape against bytes": (image({"a": ONE | {"shape": [2]}}), "needs 8 bytes, the header gives it 4"),
    "hole": (image({"a": ONE | {"data_offsets": [1, 5]}}, 5), "should begin at 0"),
    "overlap": (image({"a": ONE, "b": ONE | {"data_offsets": [2, 6]}}, 6), "should begin at 4"),
    "offsets reversed": (image({"a": ONE | {"data_offsets": [4, 0]}}), "should begin at 0"),
    "negative shape": (image({"a": ONE | {"shape": [-1]}}), "impossible shape [-1]"),
    "fractional shape": (image({"a": ONE | {"shape": [1.0]}}), "impossible shape"),
    "boolean shape": (image({"a": ONE | {"shape": [True]}}), "impossible shape"),
    "overflowing shape": (image({"a": ONE | {"shape": [1 << 63, 2, 0]}}), "too large for any file"),
    "overflowing bytes": (image({"a": ONE | {"shape": [1 << 62]}}), "too large for any file"),
    "three offsets": (image({"a": ONE | {"data_offsets": [0, 4, 4]}}), "impossible data_offsets"),
    "unknown dtype": (image({"a": ONE | {"dtype": "F31"}}), "unknown dtype 'F31'"),
    "missing field": (image({"a": {"dtype": "F32", "shape": [1]}}), "lacks data_offsets"),
    "metadata of numbers": (image({"__metadata__": {"a": 1}, "a": ONE}), "__metadata__"),
    "NaN": (image(b'{"a":NaN}', 0), "no JSON: NaN"),
    "surrogate": (image({"\ud800": ONE}), "no Unicode"),
    "nested": (image(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0), "nested too deeply"),
    "twice": (image(b'{"a":%b,"a":%b}' % ((json.dumps(ONE).encode(),) * 2)), "'a' occurs twice"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused_by_name(case: str, tmp_path: Path) -> None:
    content, expected = MALFORMED[case]
    assert expected in verdict(tmp_path / "x.safetensors", content)
    assert case == "twice" or not library_accepts(content)


def test_strange_but_valid_headers_are_accepted(tmp_path: Path) -> None:
    unordered = {
        "b": ONE | {"data_offsets": [4, 8]},
        "é 🙂": ONE,
        "empty": ONE | {"shape": [0], "data_offsets": [4, 4]},
    }
    for content in (image({}, 0), image(unordered, 8), image(b" " + json.dumps({"a": ONE | {"new": [1]}}).encode())):
        assert verdict(tmp_path / "x", content) == "" and library_accepts(content)
    (tmp_path / "x").write_bytes(image(unordered, 8))
    header = read_header(tmp_path / "x")
    assert list(header.tensors) == ["é 🙂", "empty", "b"]
    assert header.tensors["b"].start == (tmp_path / "x").stat().st_size - 4


def test_an_encoded_header_reads_back(tmp_path: Path) -> None:
    specs = {"a": Spec((2, 3), torch.bfloat16), "é": Spec((), torch.int64), "z": Spec((0, 5), torch.bool)}
    content = encode(specs)
    assert len(content) % 8 == 0
    (tmp_path / "x").write_bytes(content + bytes(20))
    header = read_header(tmp_path / "x")
    assert {name: extent.spec for name, extent in header.tensors.items()} == specs
    assert header.metadata == {"format": "pt"} and header.nbytes == 20


def test_mutated_headers_are_judged_as_the_library_judges_them(tmp_path: Path) -> None:
    rng = random.Random(7)
    accepted = 0
    for _ in range(MUTATIONS):
        content = mutated(rng)
        message = verdict(tmp_path / "x", content)
        if any(stricter in message for stricter in STRICTER):
            continue
        assert (message == "") == library_accepts(content), (message, content)
        accepted += message == ""
    assert accepted > MUTATIONS // 20


TOKENS = (
    b'"F32"|"BF16"|"F4"|"a"|0|-0|1|4|8|1.0|1e999|null|true|{|}|[|]|,|:|\\ud800|\\u0041|\xff|\xc3\xa9|\xf0\x9f\x98\x80| '
    b'|\t|\n|\x00|NaN|18446744073709551615|18446744073709551616|"__metadata__":{"k":"v"},|"x":[[1]],|-1|"|\\|{"F32":null}'
).split(b"|")


def mutated(rng: random.Random) -> bytes:
    """A valid file of up to four tensors with up to three random faults."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}} if rng.random() < 0.3 else {}
    end = 0
    for i in range(rng.randint(0, 4)):
        code, shape = rng.choice(list(BITS)), [rng.choice([0, 1, 2, 3, 8]) for _ in range(rng.randint(0, 3))]
        nbytes = int(torch.Size(shape).numel()) * BITS[code] // 8
        header[f"{rng.choice('abé')}{i}"] = {"dtype": code, "shape": shape, "data_offsets": [end, end + nbytes]}
        end += nbytes
    raw = bytearray(json.dumps(header, ensure_ascii=rng.random() < 0.5).encode())
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        mutate(raw, rng)
    data = max(0, end + rng.choice([0] * 20 + [1, -1, 8]))
    return image(bytes(raw), data, (len(raw) + rng.choice([0] * 30 + [1, -1, 1 << 40, -8])) % (1 << 64))


def mutate(raw: bytearray, rng: random.Random) -> None:
    place, kind = rng.randrange(len(raw) + 1), rng.random()
    if kind < 0.4:
        raw[place : place + rng.choice([0, 0, 1, 2])] = rng.choice(TOKENS)
    elif kind < 0.6:
        del raw[place : place + rng.randint(1, 4)]
    elif kind < 0.8 and place < len(raw):
        raw[place] = rng.randrange(256)
    else:
        other = rng.randrange(len(raw) + 1)
        raw[place:place] = raw[min(place, other) : max(place, other)]


def many_tensors() -> bytes:
    one = json.dumps({"dtype": "U8", "shape": [0], "data_offsets": [0, 0]})
    return image(("{" + ",".join(f'"{i}":{one}' for i in range(300_000)) + "}").encode(), 0)


BOMBS = {
    "tensors": many_tensors,
    "blanks": lambda: image(b"{" + b" " * 99_000_000 + b"}", 1_000_000),
    "list": lambda: image(b'{"a":[' + b"0," * 12_000_000 + b"0]}", 0),
    "text": lambda: image('{"a🙂":"'.encode() + b"x" * 24_000_000 + b'"}', 0),
    "brackets": lambda: image(b'{"a":' + b"[" * 24_000_000, 0),
}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory use from /proc")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_header_bomb_is_refused_in_little_memory(bomb: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(BOMBS[bomb]())
    script = """
import sys
from pathlib import Path
from consort.core.errors import BadCheckpoint
from consort.weights.disk.header import read_header
status = lambda key: int(Path("/proc/self/status").read_text().split(key)[1].split()[0])
before = status("VmRSS:")
try:
    read_header(Path(sys.argv[1]))
except BadCheckpoint:
    print(1024 * (status("VmHWM:") - before))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "x")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(result.stdout) < 300_000_000
