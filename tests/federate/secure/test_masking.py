"""Masked sums: exact, uniform noise one by one, and whoever leaves is accounted for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

pytest.importorskip("cryptography", reason="the extra `federate` is not installed")

from consort.core.errors import BadData, BadParameter
from consort.federate import Federation, Update
from consort.federate.rounds import Rounds
from consort.federate.secure.fields import LEVELS, check_weights, mean_of, quantised, whole_weights
from consort.federate.secure.messages import Answering
from consort.federate.secure.party import Party, total_of
from consort.federate.secure.rounds import SecureSum
from consort.federate.secure.shamir import secret_of, shares_of

BASE = {"w": torch.zeros(17)}


def states(count: int) -> dict[str, dict[str, torch.Tensor]]:
    g = torch.Generator().manual_seed(count)
    return {f"c{i:02}": {"w": torch.randn(17, generator=g)} for i in range(count)}


def plain(own: dict[str, torch.Tensor], weight: int) -> np.ndarray:
    draws = torch.rand(17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return quantised(own["w"].double(), 8.0, draws) * weight


def masked_sum(count: int, leave_before_masking: int, leave_before_reveal: int, leave_before_shares: int = 0):
    """The decoded sum and the plain one, modulo 2^32, of those whose change arrived."""
    own = states(count)
    parties = {id: Party(id, "round") for id in own}
    everybody = {id: party.public() for id, party in parties.items()}
    threshold = count // 2 + 1
    asked = sorted(own)[: count - leave_before_shares]
    sealed = {id: parties[id].shares(everybody, threshold) for id in asked}
    weights = {id: 1 + i % 3 for i, id in enumerate(asked)}
    masking = asked[: len(asked) - leave_before_masking]
    masked = {id: parties[id].masked(own[id], BASE, present=asked, weights=weights, bound=8.0) for id in masking}
    left = sorted(set(asked) - set(masking))
    revealing = masking[: len(masking) - leave_before_reveal]
    shares = {
        id: parties[id].reveal(masking, left, {sender: texts[id] for sender, texts in sealed.items()})
        for id in revealing
    }
    total = total_of(masked, shares, everybody, asked, threshold, "round")
    wanted = sum((plain(own[id], weights[id]) for id in masking), np.zeros(17, np.uint32))
    return total, wanted, masked, sum(weights[id] for id in masking), own, weights, masking


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 13, 20])
def test_the_masked_sum_is_the_plain_sum_whoever_leaves(count) -> None:
    spare = count - (count // 2 + 1)
    for a, b, c in itertools.product(range(spare + 1), repeat=3):
        if a + b + c <= spare and (count < 5 or (a + b + c in (0, spare) and max(a, b, c) == a + b + c)):
            total, wanted, *_ = masked_sum(count, a, b, c)
            assert total.dtype == np.uint32 and np.array_equal(total, wanted)


def test_too_few_that_stay_tell_nothing() -> None:
    with pytest.raises(BadParameter, match="shares"):
        masked_sum(5, 0, 3)


def test_the_mean_is_near() -> None:
    total, _, _, weight, own, weights, masking = masked_sum(6, 0, 0)
    exact = sum(weights[id] * own[id]["w"].double() for id in masking) / weight
    assert (mean_of(total, weight, 8.0) - exact).abs().max() <= 16 / LEVELS
    ones = torch.full((9,), 7.99).double()
    total = sum((quantised(ones, 8.0, torch.rand(9).double()) for _ in range(5)), np.zeros(9, np.uint32))
    assert (mean_of(total, 5, 8.0) * 5 - 5 * ones).abs().max() <= 5 * 16 / LEVELS


def test_one_masked_change_is_uniform() -> None:
    party, other = Party("a", "s"), Party("b", "s")
    everybody = {p.id: p.public() for p in (party, other)}
    for p in (party, other):
        p.shares(everybody, 2)
    size = 200_000
    base, own = {"w": torch.zeros(size)}, {"w": torch.full((size,), 0.1)}
    words = party.masked(own, base, present=["a", "b"], weights={"a": 1, "b": 1}, bound=8.0)
    counts = np.bincount(words >> 24, minlength=256)
    chi = float(((counts - size / 256) ** 2 / (size / 256)).sum())
    assert abs(chi - 255) / np.sqrt(2 * 255) < 4


def test_weights_cannot_overflow() -> None:
    check_weights([1024])
    with pytest.raises(BadParameter, match="overflow"):
        check_weights([1000, 25])
    found = whole_weights({"a": 10**9, "b": 1, "c": 5})
    assert sum(found.values()) <= 1024 and found["a"] > 1000 and found["b"] >= 1
    assert whole_weights(dict.fromkeys(map(str, range(1024)), 7)) == dict.fromkeys(map(str, range(1024)), 1)
    with pytest.raises(BadParameter, match="1025"):
        whole_weights(dict.fromkeys(map(str, range(1025)), 7))


def test_a_party_shows_one_secret_of_each_and_only_once() -> None:
    parties = {id: Party(id, "s") for id in "abc"}
    everybody = {id: party.public() for id, party in parties.items()}
    sealed = {id: party.shares(everybody, 2) for id, party in parties.items()}
    own = {sender: texts["a"] for sender, texts in sealed.items()}
    with pytest.raises(BadData, match="before the masked"):
        parties["a"].reveal(["a", "b"], ["c"], own)
    parties["a"].masked({"w": torch.zeros(17)}, BASE, present=list("abc"), weights=dict.fromkeys("abc", 1), bound=8.0)
    with pytest.raises(BadData, match="both secrets"):
        parties["a"].reveal(["a", "b", "c"], ["c"], own)
    with pytest.raises(BadData, match="changed on its way"):
        parties["a"].reveal(["a", "b"], ["c"], own | {"b": own["b"][:-1] + b"x"})
    with pytest.raises(BadData, match="twice"):
        parties["a"].reveal(["a", "b"], ["c"], own)
    with pytest.raises(BadData, match="more than half"):
        Party("a", "s").shares({"a": parties["a"].public(), "b": everybody["b"]}, 1)


def test_shares_of_a_secret() -> None:
    found = shares_of(b"\x00" * 31 + b"\x07", 7, 4)
    for places in itertools.combinations(found, 4):
        assert secret_of({p: found[p] for p in places}, 4) == b"\x00" * 31 + b"\x07"
    with pytest.raises(BadParameter):
        secret_of({1: found[1]}, 4)


def test_a_federation_of_masked_sums_is_the_plain_one_to_its_rounding(start, adding) -> None:
    clients = [adding(f"c{i}", i / 10) for i in range(4)]
    masked = Federation(start, clients, rounds=Rounds(rounds=2), secure=SecureSum(bound=1.0)).run()
    exact = Federation(start, clients, {"fedavg": {"weighting": "uniform"}}, Rounds(rounds=2)).run()
    assert all((masked.state[n] - exact.state[n]).abs().max() < 1e-5 for n in start)
    again = Federation(start, clients, rounds=Rounds(rounds=2), secure=SecureSum(bound=1.0)).run()
    assert again.hash == masked.hash  # masks differ, the sum does not
    for rule in ("median", "krum", "svd_lora"):
        with pytest.raises(BadParameter, match="own update"):
            Federation(start, clients, rule, secure=SecureSum())


class Leaving(Answering):
    """A client that stops answering at one step."""

    def __init__(self, client, at: str) -> None:
        super().__init__(client)
        self.at = at

    def exchange(self, message):
        if message.kind == self.at:
            raise BadData("has left", field=self.id)
        return super().exchange(message)


@pytest.mark.parametrize("at", ["prepare", "keys", "shares", "masked", "reveal"])
def test_a_client_that_leaves_is_named_and_the_sum_is_of_those_that_sent(at, start, adding) -> None:
    clients = [adding(f"c{i}", 0.5) for i in range(4)] + [Leaving(adding("gone", 0.9), at)]
    found = Federation(start, clients, rounds=Rounds(min_clients=3), secure=SecureSum(bound=1.0)).run()
    wanted = 0.5 if at != "reveal" else (4 * 0.5 + 0.9) / 5
    assert (found.state["w"] - wanted).abs().max() < 1e-5
    assert found.history[0]["excluded"] == {"gone": f"{at}: has left"}


def test_changes_beyond_the_bound_are_cut(start) -> None:
    from consort.federate.clients.client import CallableClient

    def far(state, task):
        return Update("a", {name: tensor + 100 for name, tensor in state.items()})

    found = Federation(start, [CallableClient("a", far)], secure=SecureSum(bound=2.0)).run()
    assert found.state["w"].max() == pytest.approx(2.0, abs=1e-5)
