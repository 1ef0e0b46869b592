"""Who takes part in a round, and the seeds of it: functions of the run's seed and the round alone."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence


def seed_of(seed: int, *parts: object) -> int:
    """A 48-bit seed for one purpose."""
    text = ":".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "little")


def sampled(ids: Sequence[str], seed: int, round: int, count: int) -> list[str]:
    """`count` of the clients, each set equally likely; sorted."""
    return sorted(random.Random(seed_of(seed, "sample", round)).sample(sorted(ids), min(count, len(ids))))


def poisson(ids: Sequence[str], rate: float, generator: random.Random) -> list[str]:
    """Each client with the probability `rate`, independently; sorted. The accountant's figures are for this."""
    return [id for id in sorted(ids) if generator.random() < rate]
