"""The controller on costs that are given, fed with counts that are known."""

from __future__ import annotations

import logging

import pytest

from consort.cooperate.speculate.rounds.controller import Controller, expected
from consort.cooperate.speculate.rounds.costs import Costs


def controller(c: float, v: float = 1.0, **options: bool) -> Controller:
    return Controller(lambda: c, lambda gamma: 1.0 if gamma == 0 else v, **options)  # type: ignore[arg-type]


def feed(control: Controller, pattern: list[int], rounds: int) -> list[int]:
    """Rounds in which a draft stands for so many tokens, in turn (cut to the draft); the lengths that were chosen."""
    chosen = []
    for i in range(rounds):
        gamma = control.choose()
        stood = min(pattern[i % len(pattern)], gamma)
        control.record(gamma, stood, stood + (stood < gamma), stood + 1)
        chosen.append(gamma)
    return chosen


def test_a_bad_draft_is_off_within_ten_rounds_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    control = controller(0.2, 1.1)
    with caplog.at_level(logging.INFO, "consort.speculate"):
        chosen = feed(control, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0], 10)
    assert not control.on
    assert 0 in chosen
    (line,) = control.switches
    assert line in caplog.text
    assert line.startswith("speculation off: acceptance 0.")
    assert "draft cost 0.20, verify cost 1.10, projected 0." in line


def test_the_length_is_the_best_one() -> None:
    control = controller(0.05)
    for _ in range(400):  # four of five tested tokens stand
        control.record(5, 4, 5, 5)
    assert control.acceptance == pytest.approx(0.8)
    gains = {g: (1 - 0.8 ** (g + 1)) / (0.2 * (g * 0.05 + 1.0)) for g in range(1, 17)}
    assert control.choose() == max(gains, key=lambda g: gains[g])
    assert control.projected(control.choose()) == pytest.approx(max(gains.values()))


def test_acceptance_is_a_ratio_of_sums() -> None:
    control = controller(0.01)
    control.record(5, 5, 5, 6)
    control.record(5, 0, 1, 1)
    assert control.acceptance == pytest.approx((0.9 * 5) / (0.9 * 5 + 1))


def test_probes_come_after_64_then_128_tokens_and_switch_on_again() -> None:
    control = controller(0.1, 1.0)
    feed(control, [0], 8)
    assert not control.on
    lengths = [control.choose()]
    for _ in range(64 + 128 + 2):
        gamma = control.choose()
        control.record(gamma, 0, int(gamma > 0), 1)
        lengths.append(control.choose())
    off = [i for i, gamma in enumerate(lengths) if gamma]
    assert off[1] - off[0] == 129
    for _ in range(30):  # probes that succeed
        control.waited = control.pause
        control.record(control.choose(), 1, 1, 2)
    assert control.on
    assert "speculation on: acceptance" in control.switches[-1]


def test_expected_tokens() -> None:
    assert expected(0.0, 5) == 1.0
    assert expected(1.0, 5) == 6.0
    assert expected(0.8, 5) == pytest.approx(3.68928)


def test_survival_counts_positions() -> None:
    """Drafts that stand for exactly two tokens: the geometric guess would draft on, the counts stop there."""
    control, geometric = controller(0.1, survival=True), controller(0.1)
    for each in (control, geometric):
        for _ in range(100):
            each.record(6, 2, 3, 3)
    assert control.choose() == 2
    assert control.choose() != geometric.choose()


def test_costs_are_ratios_of_medians_and_lines_between_them() -> None:
    costs = Costs()
    costs.drafted(1.0, 1)
    assert (costs.c, costs.v(3)) == (0.0, 1.0)
    for seconds in (0.010, 0.010, 0.5):  # one of them interrupted
        costs.stepped(seconds)
    costs.verified(0.014, 4)
    costs.drafted(0.004, 4)
    assert costs.c == pytest.approx(0.1)
    assert [costs.v(g) for g in (0, 2, 4, 8)] == pytest.approx([1.0, 1.2, 1.4, 1.8])


def test_costs_do_not_follow_the_speed_of_the_machine() -> None:
    costs = Costs()
    for speed in [1.0] * 9 + [3.0] * 9:
        for _ in range(3):
            costs.stepped(0.01 * speed)
        costs.drafted(0.002 * speed, 1)
        costs.verified(0.013 * speed, 3)
    assert costs.c == pytest.approx(0.2)
    assert costs.v(3) == pytest.approx(1.3)


def test_a_single_slow_round_does_not_condemn_its_length() -> None:
    costs = Costs()
    costs.stepped(0.01)
    for _ in range(3):
        costs.verified(0.012, 2)
    costs.verified(0.100, 4)
    assert [costs.v(g) for g in (2, 4)] == pytest.approx([1.2, 1.4])


def test_what_rounds_really_gave_outweighs_the_projection() -> None:
    """A pair that looks like 1.2x and gives 0.9x: off, and the waits grow although each probe looks well."""
    control, waits = controller(0.3), []
    while len(waits) < 4:
        gamma = control.choose()
        stood = min(1, gamma)
        control.record(gamma, stood, stood + (stood < gamma), stood + 1, (stood + 1) / 0.9 if gamma else None)
        if not control.on and (not waits or waits[-1] != control.pause):
            waits.append(control.pause)
    assert waits == [64, 128, 256, 512]
    assert "projected 1." in control.switches[0] and "measured 0.90x" in control.switches[0]


@pytest.mark.parametrize(("c", "v"), [(0.3, 1.3), (0.1, 1.5), (0.6, 1.2)])
def test_a_hopeless_draft_costs_less_than_two_percent_of_1024_tokens(c: float, v: float) -> None:
    """Rounds of it, in plain steps; a token is 1. What the draft reads after a pause is at most 128 tokens a probe."""
    control, tokens, spent = controller(c, v), 0, 0.0
    while tokens < 1024:
        gamma = control.choose()
        cost = gamma * c + v if gamma else 1.0
        control.record(gamma, 0, int(gamma > 0), 1, cost if gamma else None)
        tokens, spent = tokens + 1, spent + cost
    assert spent / tokens < 1.02
