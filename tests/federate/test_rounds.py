"""Rounds: who is asked, who counts, what a kill leaves."""

from __future__ import annotations

import json
import time

import pytest
import torch

from consort.core.errors import BadParameter, EnvironmentFailure, OutputExists
from consort.federate import Federation, Update
from consort.federate.rounds import Rounds
from consort.federate.sampling import sampled
from consort.federate.state import hash_of


def test_two_rounds_by_hand(start, adding) -> None:
    clients = [adding("a", 1.0, samples=1), adding("b", 4.0, samples=2)]
    found = Federation(start, clients, rounds=Rounds(rounds=2)).run()
    assert torch.equal(found.state["w"], torch.full((6,), 6.0))
    assert [line["clients"] for line in found.history] == [["a", "b"]] * 2


def test_sampling_is_a_function_of_seed_and_round() -> None:
    ids = [f"c{i}" for i in range(20)]
    assert sampled(ids, 0, 3, 5) == sampled(ids[::-1], 0, 3, 5) != sampled(ids, 0, 4, 5)
    counts = [id for round in range(400) for id in sampled(ids, 1, round, 5)]
    assert all(60 < counts.count(id) < 140 for id in ids)


@pytest.mark.parametrize("rule", ["fedavg", "scaffold", "feddyn", "fedadam"])
def test_folder_workers_and_order_change_nothing(rule, start, quadratic_clients, tmp_path) -> None:
    plain = Federation(start, quadratic_clients(), rule, Rounds(rounds=4, per_round=3)).run()
    many = Federation(start, quadratic_clients()[::-1], rule, Rounds(4, per_round=3, workers=4), tmp_path / "a").run()
    assert plain.hash == many.hash


@pytest.mark.parametrize("rule", ["fedavgm", "scaffold", "feddyn"])
def test_a_run_goes_on_where_it_was(rule, start, quadratic_clients, tmp_path) -> None:
    whole = Federation(start, quadratic_clients(), rule, Rounds(rounds=5)).run()
    clients = quadratic_clients()
    Federation(start, clients, rule, Rounds(rounds=2), tmp_path).run()
    again = Federation(start, clients, rule, Rounds(rounds=5), tmp_path).run()
    assert again.hash == whole.hash and [line["round"] for line in again.history] == [0, 1, 2, 3, 4]
    with pytest.raises(OutputExists):
        Federation(start, clients, "fedavg", Rounds(rounds=5, seed=7), tmp_path).run()


BAD = {
    "wrong shape": lambda s, t: Update("liar", {**s, "w": torch.zeros(7)}),
    "missing": lambda s, t: Update("liar", {"w": s["w"]}),
    "nan": lambda s, t: Update("liar", {**s, "w": s["w"] * float("nan")}),
    "huge": lambda s, t: Update("liar", {**s, "w": s["w"] + 1e9}),
    "half": lambda s, t: Update("liar", {**s, "w": s["w"].half()}),
    "samples": lambda s, t: Update("liar", s, samples=-5),
    "metrics": lambda s, t: Update("liar", s, metrics={"loss": float("inf")}),
    "somebody else": lambda s, t: Update("c0", s),
    "crash": lambda s, t: 1 / 0,
    "aux": lambda s, t: Update("liar", s, aux={"x": torch.zeros(3)}),
}


@pytest.mark.parametrize("how", BAD)
def test_a_liar_is_left_out_by_name_and_the_round_goes_on(how, start, adding, tmp_path) -> None:
    honest = [adding(f"c{i}", i) for i in range(3)]
    for folder in (None, tmp_path):
        found = Federation(start, [*honest, adding("liar", act=BAD[how])], folder=folder).run()
        assert list(found.history[0]["excluded"]) == ["liar"] and found.history[0]["clients"] == ["c0", "c1", "c2"]
        assert found.hash == Federation(start, honest).run().hash


def test_a_late_client_is_left_out(start, adding) -> None:
    def late(state, task):
        time.sleep(1.5)
        return Update("late", dict(state))

    clients = [adding("a"), adding("late", act=late)]
    found = Federation(start, clients, rounds=Rounds(deadline_s=0.3, workers=2)).run()
    assert found.history[0]["excluded"] == {"late": "no answer within the deadline"}


def test_too_few_clients_end_the_run_after_repeats(start, adding) -> None:
    calls = []

    def flaky(state, task):
        calls.append(task.round)
        if len(calls) == 1:
            raise RuntimeError("the network is down")
        return Update("b", dict(state))

    found = Federation(start, [adding("a"), adding("b", act=flaky)], rounds=Rounds(min_clients=2)).run()
    assert found.history[0]["attempts"] == 2 and "network is down" in found.history[0]["excluded"]["b"]
    clients = [adding("a"), adding("b", act=BAD["crash"])]
    with pytest.raises(EnvironmentFailure, match="b: ZeroDivisionError") as caught:
        Federation(start, clients, rounds=Rounds(min_clients=2)).run()
    assert caught.value.exit_code == 3
    with pytest.raises(BadParameter, match="can never answer"):
        Federation(start, clients, rounds=Rounds(min_clients=3))
    with pytest.raises(BadParameter, match="two clients"):
        Federation(start, [adding("a"), adding("a")])


def test_control_variates_stay_right_when_a_client_is_left_out(start, quadratic_clients) -> None:
    """A client whose update was not counted goes on from what it remembered before."""
    clients = quadratic_clients(3)
    honest = clients[2].fit
    clients[2].fit = lambda state, task: honest(state, task) if task.round != 1 else _broken(honest(state, task))
    found = Federation(start, clients, "scaffold", Rounds(rounds=4)).run()
    assert found.history[1]["excluded"].keys() == {"c2"}
    own = [client.memory.of(3)["w"] for client in clients]
    assert (sum(own) / 3 - found.memory["control/w"]).abs().max() < 1e-6


def _broken(update):
    return Update(update.client, {name: tensor * float("nan") for name, tensor in update.state.items()})


def test_clipping_draws_back(start, adding) -> None:
    far = Federation(start, [adding("a", 1000.0)], rounds=Rounds(clip=2.0)).run()
    moved = sum(float((far.state[n] - start[n]).square().sum()) for n in start) ** 0.5
    assert moved == pytest.approx(2.0, rel=1e-5)


def test_the_journal_is_json_with_the_hash_of_each_state(start, adding, tmp_path) -> None:
    found = Federation(start, [adding("a")], rounds=Rounds(rounds=2), folder=tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert lines[2]["hash"] == found.hash == hash_of(found.state)
    assert not list((tmp_path / "updates").glob("*"))
