"""A client's side of a masked sum (Bonawitz et al. 2017, ePrint 2017/281): what leaves it is uniform noise or a share.

keys     two public keys of this round
shares   of its own secrets, one for each other client, sealed so that the server cannot read them
masked   weight · quantised change + self mask + pairwise masks, modulo 2^32
reveal   for each client one share: of its self mask if it is present, of its mask key if it has left, never both
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from consort.core.errors import BadData
from consort.federate.secure import keys
from consort.federate.secure.fields import Words, check_weights, flattened, quantised
from consort.federate.secure.shamir import SHARE_BYTES, shares_of
from consort.federate.state import State, clipped, trained_names

Public = tuple[bytes, bytes]
"""The key of masks and the key of sealed shares."""


@dataclass
class Party:
    """One client in one masked round. Raises BadData for what an honest server would not ask."""

    id: str
    stamp: str
    threshold: int = 0
    mask_key: bytes = field(default_factory=keys.fresh, repr=False)
    seal_key: bytes = field(default_factory=keys.fresh, repr=False)
    self_mask: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    others: dict[str, Public] = field(default_factory=dict)
    has_masked: bool = False
    has_revealed: bool = False

    def public(self) -> Public:
        return keys.public_of(self.mask_key), keys.public_of(self.seal_key)

    def shares(self, everybody: Mapping[str, Public], threshold: int) -> dict[str, bytes]:
        """A sealed share of both secrets for every client, itself too; `threshold` of them tell a secret."""
        if self.others:
            raise self._refused("shares were asked for twice")
        if everybody.get(self.id) != self.public() or 2 * threshold <= len(everybody):
            raise self._refused("the list of clients is not mine, or the threshold is not more than half of it")
        self.others, self.threshold = dict(everybody), threshold
        ids = sorted(everybody)
        count = len(ids)
        of_key, of_mask = (shares_of(s, count, self.threshold) for s in (self.mask_key, self.self_mask))
        found = {}
        for place, other in enumerate(ids, 1):
            text = of_key[place].to_bytes(SHARE_BYTES, "big") + of_mask[place].to_bytes(SHARE_BYTES, "big")
            found[other] = keys.sealed(self._seal(self.id, other), text)
        return found

    def masked(
        self,
        state: State,
        base: State,
        *,
        present: Sequence[str],
        weights: Mapping[str, int],
        bound: float,
        clip: float | None = None,
        seed: int = 0,
    ) -> Words:
        """The masked change. `present` are the clients whose shares the server has; `seed` decides the rounding."""
        if self.has_masked or self.id not in present or not set(present) <= set(self.others):
            raise self._refused("a masked change was asked for twice, or for others than agreed")
        if len(present) < self.threshold:
            raise self._refused("fewer clients are present than the threshold")
        check_weights([weights[id] for id in present])
        self.has_masked = True
        names = trained_names(base)
        own = state if clip is None else clipped(state, base, clip, names)
        change = flattened(own, names) - flattened(base, names)
        draws = torch.rand(change.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        words: Words = quantised(change, bound, draws) * weights[self.id]
        words = words + keys.masks(self.self_mask, len(words))
        for other in present:
            if other != self.id:
                mask = keys.masks(self._pair(other), len(words))
                words = words + mask if self.id < other else words - mask
        return words

    def reveal(self, present: Sequence[str], left: Sequence[str], sealed: Mapping[str, bytes]) -> dict[str, bytes]:
        """One share for each client: of the self mask of those present, of the mask key of those that have left."""
        if self.has_revealed or not self.has_masked:
            raise self._refused("shares were asked for twice, or before the masked change")
        if set(present) & set(left) or len(set(present)) < self.threshold or self.id not in present:
            raise self._refused("both secrets of one client were asked for, or too few are present")
        self.has_revealed = True
        found = {}
        for other in [*present, *left]:
            try:
                text = keys.opened(self._seal(other, self.id), sealed[other])
            except (keys.InvalidTag, KeyError):
                raise self._refused(f"the share of {other} was changed on its way") from None
            found[other] = text[SHARE_BYTES:] if other in present else text[:SHARE_BYTES]
        return found

    def _pair(self, other: str) -> bytes:
        return keys.agreed(self.mask_key, self.others[other][0], f"mask {self.stamp}")

    def _seal(self, sender: str, receiver: str) -> bytes:
        other = receiver if sender == self.id else sender
        return keys.agreed(self.seal_key, self.others[other][1], f"share {self.stamp} {sender}>{receiver}")

    def _refused(self, what: str) -> BadData:
        return BadData(what, field=self.id, hint="nothing was sent; leave this federation if it happens again")


def total_of(
    masked: Mapping[str, Words],
    shares: Mapping[str, Mapping[str, bytes]],
    everybody: Mapping[str, Public],
    asked: Sequence[str],
    threshold: int,
    stamp: str,
) -> Words:
    """The server's side: the plain sum of those present, modulo 2^32, once their masks are taken away.

    `asked` sent shares, `masked` sent a change; `shares` are what those revealed. Raises BadParameter where too few
    did.
    """
    from consort.federate.secure.shamir import secret_of

    ids = sorted(everybody)
    place = {id: number for number, id in enumerate(ids, 1)}
    count = len(next(iter(masked.values())))
    total: Words = np.zeros(count, np.uint32)
    for id in masked:
        total = total + masked[id]

    def secret(owner: str) -> bytes:
        points = {place[id]: int.from_bytes(own[owner], "big") for id, own in shares.items() if owner in own}
        return secret_of(points, threshold)

    for present in sorted(masked):
        total = total - keys.masks(secret(present), count)
    for left in sorted(set(asked) - set(masked)):
        key = secret(left)
        for other in sorted(masked):
            mask = keys.masks(keys.agreed(key, everybody[other][0], f"mask {stamp}"), count)
            total = total - mask if other < left else total + mask
    return total
