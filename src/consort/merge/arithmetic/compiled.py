"""The arithmetic of long merges in one pass over memory, by the system's C compiler where there is one.

`kernels.c` is compiled once for a processor and kept in the cache folder; until a process has computed as much as that
is worth, and where nothing can be compiled, torch computes the same bits, in up to eight times the time.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from ctypes import CDLL, c_float, c_int, c_int32, c_int64, c_void_p
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt
from torch import Tensor

from consort.core.cache import cache_folder
from consort.core.processor import processor

LOG = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = ("-std=c99", "-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
WORTH = 2**25
"""So many entries are computed by torch before anything is compiled, which takes about a second."""

TILE = 1024
"""Entries of a model that `kernels.c` has under way at a time."""

SMALL = 2**12
"""Fewer entries are left to torch."""

GREATEST = 2**31 - 1
"""No magnitude of a float32 has a greater bit pattern."""

ELECTIONS = ("weighted", "unweighted", "count")
SECONDS = 60

_lock = threading.Lock()
_state: dict[str, CDLL | None] = {}
_seen = [0]


def kernels(values: Tensor) -> CDLL | None:
    """The compiled functions, where they can work on these values, keep no gradient of them, and are worth it."""
    plain = values.dtype == torch.float32 and values.device.type == "cpu" and not torch.is_grad_enabled()
    if not plain or values.shape[-1] < SMALL or values.stride(-1) != 1:
        return None
    return _library(values.numel())


def kernels_for(bits: Shaped[np.ndarray, "entry"]) -> CDLL | None:
    """The same for bit patterns of float32."""
    if bits.itemsize != 4 or len(bits) < SMALL or not bits.flags.c_contiguous:
        return None
    return _library(len(bits))


def kernels_of_bits(values: Tensor) -> CDLL | None:
    """The same for values in bfloat16 that are merged as they are."""
    plain = values.dtype == torch.bfloat16 and values.device.type == "cpu" and values.is_contiguous()
    return _library(values.numel()) if plain and values.numel() >= SMALL else None


def _library(entries: int) -> CDLL | None:
    if "library" not in _state:
        _seen[0] += entries
        if _seen[0] < WORTH:
            return None
        with _lock:
            if "library" not in _state:
                _state["library"] = _opened()
    return _state["library"]


def weighted_total(
    library: CDLL, stack: Float[Tensor, "model entries"], weight: Float[Tensor, "model"]
) -> Float[Tensor, "entries"]:
    """Σ w_i x_i, in the order of the models."""
    out, w = _floats(stack.shape[1]), weight.to(torch.float32).contiguous()
    library.weighted_total(stack.data_ptr(), *stack.shape, stack.stride(0), w.data_ptr(), out.data_ptr())
    return out


def voted(
    library: CDLL,
    stack: Float[Tensor, "model entries"],
    weight: Float[Tensor, "model"],
    *,
    elect: str,
    normalize: bool,
) -> Float[Tensor, "entries"]:
    """What the entries of the elected sign sum to, with `normalize` divided by the sum of their weights."""
    out, w = _floats(stack.shape[1]), weight.to(torch.float32).contiguous()
    given = stack.data_ptr(), *stack.shape, stack.stride(0), w.data_ptr()
    library.voted(*given, ELECTIONS.index(elect), int(normalize), out.data_ptr())
    return out


def _floats(*shape: int) -> Tensor:
    """Memory for C, whatever dtype and device are the default where a model is being loaded."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def above(library: CDLL, values: Float[Tensor, "entries"], bound: float, out: Float[Tensor, "entries"]) -> None:
    """The entries whose magnitude is greater than the bound, 0 for the others."""
    library.above(values.data_ptr(), len(values), bound, out.data_ptr())


def look(
    library: CDLL, bits: UInt[np.ndarray, "entry"], low: int, high: int
) -> tuple[UInt[np.ndarray, "inside"], Sequence[int]]:
    """Of magnitudes as bit patterns: those between the two, and how many are below, at the low and at the high one."""
    inside, counts = np.empty(len(bits), np.uint32), np.zeros(3, np.int64)
    found = library.look(bits.ctypes.data, len(bits), low, min(high, GREATEST), inside.ctypes.data, counts.ctypes.data)
    return inside[:found].copy(), counts.tolist()


def merged(
    library: CDLL,
    rows: Sequence[Tensor],
    base: Tensor | None,
    weight: Float[Tensor, "model"],
    bounds: Float[np.ndarray, "model"] | None,
    *,
    elect: str | None,
    normalize: bool,
    divisor: float,
    scale: float,
    out: Tensor,
) -> bool:
    """A merge of flat bfloat16 rows into `out`, of the same dtype; False where anything is not finite."""
    pointers = (c_void_p * len(rows))(*(row.data_ptr() for row in rows))
    w, stack = weight.to(torch.float32).contiguous(), _floats(len(rows), TILE)
    least = None if bounds is None else np.ascontiguousarray(bounds, np.float32)
    vote = -1 if elect is None else ELECTIONS.index(elect)
    return bool(
        library.merged(
            pointers,
            None if base is None else base.data_ptr(),
            len(rows),
            len(out),
            w.data_ptr(),
            None if least is None else least.ctypes.data,
            vote,
            int(normalize),
            divisor,
            scale,
            stack.data_ptr(),
            out.data_ptr(),
        )
    )


def _opened() -> CDLL | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    key = sha256(repr((SOURCE.read_bytes(), FLAGS, processor())).encode()).hexdigest()[:16]
    file = cache_folder() / f"kernels-{key}.so"
    try:
        if not _own(file):
            if compiler is None:
                LOG.info("no C compiler is found: long merges are computed by torch alone, which is slower")
                return None
            _compile(compiler, file)
        return _typed(CDLL(str(file)))
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        LOG.warning("the quick arithmetic of merges cannot be compiled, torch computes it: %s", error)
        return None


def _own(file: Path) -> bool:
    """Whether it is there and only this user could have written it."""
    try:
        found = os.lstat(file)
    except OSError:
        return False
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return mine and stat.S_ISREG(found.st_mode) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _compile(compiler: str, file: Path) -> None:
    """Into a file beside, then renamed: another process never loads a half."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="kernels-") as folder:
        made = Path(folder) / "kernels.so"
        command = [compiler, *FLAGS, "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode:
            raise OSError(f"{compiler}: {done.stderr.strip()[:300]}")
        made.chmod(0o755)
        os.replace(made, file)


def _typed(library: CDLL) -> CDLL:
    library.weighted_total.argtypes = [c_void_p, c_int64, c_int64, c_int64, c_void_p, c_void_p]
    library.voted.argtypes = [c_void_p, c_int64, c_int64, c_int64, c_void_p, c_int, c_int, c_void_p]
    library.above.argtypes = [c_void_p, c_int64, c_float, c_void_p]
    library.look.argtypes = [c_void_p, c_int64, c_int32, c_int32, c_void_p, c_void_p]
    inputs = c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p
    library.merged.argtypes = [*inputs, c_int, c_int, c_float, c_float, c_void_p, c_void_p]
    library.merged.restype = c_int
    library.weighted_total.restype = library.voted.restype = library.above.restype = None
    library.look.restype = c_int64
    return library
