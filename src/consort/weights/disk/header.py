"""The header of a safetensors file: read with every check made before any tensor is, and written. Imports no torch.

Format: github.com/huggingface/safetensors. What that library accepts is accepted here and what it refuses is refused,
but for these, where this reader is stricter: a name or key that occurs twice, a tensor described by a list, a dtype
written as an object, and headers above the limits below.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from consort.core.counted import counted
from consort.core.errors import BadCheckpoint
from consort.core.files import machine_errors
from consort.weights.disk.codes import BITS

if TYPE_CHECKING:
    from consort.weights.checkpoint import Spec

MAX_HEADER_BYTES = 25_000_000
"""The format allows 100,000,000; a hundred thousand tensors need 15,000,000."""
MAX_TENSORS = 100_000
"""In one file."""
MAX_VALUES = 1_000_000
"""JSON values in a header: ten for each tensor."""
MAX_DEPTH = 127


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a tensor lies: bytes [start, stop) of its file."""

    code: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def spec(self) -> Spec:
        from consort.weights.checkpoint import Spec
        from consort.weights.disk.dtypes import DTYPES

        return Spec(self.shape, DTYPES[self.code])


@dataclass(frozen=True, slots=True)
class Header:
    """A checked header: tensors in the order of their data; `digest` is the SHA-256 of its bytes.

    `identity` (device, inode, size, mtime) tells whether the file is still the one whose header this is.
    """

    tensors: Mapping[str, Extent]
    metadata: Mapping[str, str]
    digest: str
    identity: tuple[int, ...] = field(default=())

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(extent.stop - extent.start for extent in self.tensors.values())


class _Refused(Exception):
    """A fault of a header; `read_header` adds the file."""


def read_header(path: Path) -> Header:
    """The header of `path`, or BadCheckpoint naming the file, the tensor and what was expected."""
    try:
        with machine_errors(path), _open_regular(path) as file:
            status = os.fstat(file.fileno())
            length = check_length(file.read(8), status.st_size)
            raw = file.read(length)
        tensors, metadata = parse(raw, data_bytes=status.st_size - 8 - length)
    except _Refused as fault:
        hint = "download or save the file again; it is damaged or was made to do harm"
        raise BadCheckpoint(str(fault), field=str(path), hint=hint) from None
    base = 8 + length
    placed = {name: Extent(e.code, e.shape, e.start + base, e.stop + base) for name, e in tensors.items()}
    return Header(placed, metadata, sha256(raw).hexdigest(), identity(status))


def identity(status: os.stat_result) -> tuple[int, ...]:
    """What tells a file from an earlier one of its name."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def check_length(prefix: bytes, file_bytes: int) -> int:
    """The header's length, which the first 8 bytes of a file of `file_bytes` give."""
    if len(prefix) < 8:
        raise _Refused(f"too short for a safetensors file, {counted(file_bytes, 'byte')}")
    length = int.from_bytes(prefix, "little")
    if length > file_bytes - 8:
        raise _Refused(f"the header should have {length} bytes, the file has {file_bytes - 8} after the length")
    if length > MAX_HEADER_BYTES:
        raise _Refused(f"the header has {length} bytes, the limit is {MAX_HEADER_BYTES}")
    return length


def parse(raw: bytes, data_bytes: int) -> tuple[dict[str, Extent], dict[str, str]]:
    """Tensors (offsets from the end of the header) and metadata of a header that `data_bytes` of data follow."""
    values = _json(raw)
    if not isinstance(values, dict):
        raise _Refused("the header is no JSON object")
    metadata = _metadata(values.pop("__metadata__", None))
    extents = {name: _extent(name, info) for name, info in values.items()}
    ordered = dict(sorted(extents.items(), key=lambda item: (item[1].start, item[1].stop)))
    end = 0
    for name, extent in ordered.items():
        _check(name, extent, end)
        end = extent.stop
    if end != data_bytes:
        raise _Refused(f"the tensors should have {end} bytes, the file has {data_bytes}: it is truncated or too long")
    return ordered, metadata


def encode(specs: Mapping[str, Spec]) -> bytes:
    """Length and header for tensors stored one after the other in this order; a multiple of 8 bytes."""
    from consort.weights.disk.dtypes import CODES

    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, spec in specs.items():
        start, end = end, end + spec.nbytes
        header[name] = {"dtype": CODES[spec.dtype], "shape": list(spec.shape), "data_offsets": [start, end]}
    raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def _open_regular(path: Path) -> Any:
    """The file, unbuffered; a pipe or device is refused before it is opened."""
    if not path.is_file():
        kind = "is no regular file" if path.exists() else "does not exist"
        raise BadCheckpoint(kind, field=str(path), hint="the folder is incomplete: download or save it again")
    file = open(path, "rb", buffering=0)  # noqa: SIM115  (the caller's `with` closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BadCheckpoint("is no regular file", field=str(path), hint="give a folder of ordinary files")
    return file


def _json(raw: bytes) -> Any:
    # Counted before parsing: a parsed value takes many times the memory of its text.
    if raw.count(b"{") > MAX_TENSORS + 2:
        raise _Refused(f"the header has more than {MAX_TENSORS} tensors")
    if raw.count(b",") > MAX_VALUES:
        raise _Refused(f"the header has more than {MAX_VALUES} values")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Refused(f"the header is no UTF-8 (byte {error.start})") from None
    try:
        values = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except RecursionError:
        raise _Refused("the header is nested too deeply") from None
    except ValueError as error:
        raise _Refused(f"the header is no JSON: {error}") from None
    if "\\u" in text:
        _check_strings(values)
    return values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"{twice!r} occurs twice in the header")
    return values


def _constant(text: str) -> NoReturn:
    raise _Refused(f"the header is no JSON: {text}")


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise _Refused("a number in the header is out of range")
    return number


def _integer(text: str) -> int | float:
    """An integer as the format counts: -0 is none, and beyond 64 bits numbers are floating."""
    return int(text) if text != "-0" and len(text) <= 20 else _float(text)


def _check_strings(value: Any) -> None:
    """Half a surrogate pair can be written in JSON but is no Unicode text."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _Refused("a name in the header is no Unicode text") from None


def _metadata(values: Any) -> dict[str, str]:
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise _Refused("__metadata__ is no object of strings")
    return values


def _extent(name: str, info: Any) -> Extent:
    if not isinstance(info, dict):
        raise _Refused(f"tensor {name!r} is described by no JSON object")
    missing = {"dtype", "shape", "data_offsets"} - info.keys()
    if missing:
        raise _Refused(f"tensor {name!r} lacks {', '.join(sorted(missing))}")
    code, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(code, str) or code not in BITS:
        raise _Refused(f"tensor {name!r} has the unknown dtype {code!r:.40}")
    if not _sizes(shape):
        raise _Refused(f"tensor {name!r} has the impossible shape {shape!r:.80}")
    if not _sizes(offsets) or len(offsets) != 2:
        raise _Refused(f"tensor {name!r} has the impossible data_offsets {offsets!r:.80}")
    if len(info) > 3 and _depth(info) + 1 > MAX_DEPTH:
        raise _Refused("the header is nested too deeply")
    return Extent(code, tuple(shape), *offsets)


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 64 for v in values)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _check(name: str, extent: Extent, end: int) -> None:
    """The tensor follows on the one before, which ended at `end`, and has the bytes of its shape and dtype."""
    if extent.start != end or extent.stop < extent.start:
        place = f"bytes [{extent.start}, {extent.stop})"
        raise _Refused(f"tensor {name!r} lies at {place} and should begin at {end}: there is a hole or an overlap")
    if _overflows(extent.shape, BITS[extent.code]):
        raise _Refused(f"tensor {name!r} has a shape too large for any file: {list(extent.shape)!r:.80}")
    bits = prod(extent.shape) * BITS[extent.code]
    if bits != 8 * (extent.stop - extent.start):
        expected = f"{extent.code} of shape {list(extent.shape)!r:.80} needs {bits / 8:.16g} bytes"
        raise _Refused(f"tensor {name!r}: {expected}, the header gives it {extent.stop - extent.start}")


def _overflows(shape: tuple[int, ...], bits: int) -> bool:
    """Whether a product of sizes, taken from left to right, passes 64 bits on the way (a later 0 does not help)."""
    product = 1
    for size in shape:
        product *= size
        if product >= 1 << 64:
            return True
    return product * bits >= 1 << 64
