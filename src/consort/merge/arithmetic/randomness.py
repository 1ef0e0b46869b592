"""Uniform numbers that belong to entries: each is a function of seed, method, tensor, model and flat index alone.

Philox4x64-10 (Salmon et al. 2011, as in numpy) in counter mode: a block of four 64-bit words serves eight entries.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

ENTRIES_PER_COUNTER = 8


def stream_key(seed: int, method: str, tensor: str, position: int) -> tuple[int, int]:
    """The 128-bit key of one model's numbers for one tensor; `position` counts the models without the base."""
    text = "\0".join((str(seed), method, tensor, str(position)))
    digest = blake2b(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")


def uniform(key: tuple[int, int], start: int, stop: int) -> Float[Tensor, "entries"]:
    """Numbers in [0, 1) of entries [start, stop): multiples of 2^-24, exact in float32."""
    return fill_uniform(key, start, torch.empty(stop - start))


def fill_uniform(key: tuple[int, int], start: int, out: Float[Tensor, "entries"]) -> Float[Tensor, "entries"]:
    """`uniform` of the entries from `start` on, into a float32 `out`."""
    counter, skipped = divmod(start, ENTRIES_PER_COUNTER)
    generator = np.random.Philox(key=np.array(key, np.uint64), counter=np.array([counter, 0, 0, 0], np.uint64))
    words = generator.random_raw(-(-(skipped + len(out)) // 2)).astype("<u8", copy=False).view("<u4")
    words >>= 8
    numbers = out.numpy()
    numbers[:] = words[skipped : skipped + len(out)]
    numbers *= np.float32(2**-24)
    return out
