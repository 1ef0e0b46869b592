"""Shamir's shares: any `threshold` of them tell a secret, fewer tell nothing. Over the prime 2^521 - 1."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from consort.core.errors import BadParameter

PRIME = 2**521 - 1
SHARE_BYTES = 66


def shares_of(secret: bytes, count: int, threshold: int) -> dict[int, int]:
    """Values at 1 .. count of a random polynomial of degree threshold - 1 whose value at 0 is the secret.

    >>> found = shares_of(b"key", 5, 3)
    >>> secret_of({i: found[i] for i in (1, 4, 5)}, 3, length=3)
    b'key'
    """
    if not 1 <= threshold <= count:
        raise BadParameter(f"{threshold} of {count} shares", field="threshold", hint=f"from 1 to {count}")
    value = int.from_bytes(secret, "big")
    if value >= PRIME:
        raise BadParameter("the secret is longer than 65 bytes", field="secret", hint="share a key, not a text")
    coefficients = [value, *(secrets.randbelow(PRIME) for _ in range(threshold - 1))]

    def at(x: int) -> int:
        result = 0
        for coefficient in reversed(coefficients):
            result = (result * x + coefficient) % PRIME
        return result

    return {x: at(x) for x in range(1, count + 1)}


def secret_of(shares: Mapping[int, int], threshold: int, *, length: int = 32) -> bytes:
    """The secret, by Lagrange's polynomial at 0. Raises BadParameter for too few shares."""
    if len(shares) < threshold:
        what = f"{len(shares)} shares of {threshold}"
        raise BadParameter(what, field="threshold", hint="too many clients have left; repeat the round")
    points = sorted(shares.items())[:threshold]
    total = 0
    for i, (x, y) in enumerate(points):
        top, bottom = 1, 1
        for j, (other, _) in enumerate(points):
            if i != j:
                top, bottom = top * -other % PRIME, bottom * (x - other) % PRIME
        total = (total + y * top * pow(bottom, -1, PRIME)) % PRIME
    return total.to_bytes(SHARE_BYTES, "big")[-length:]
