"""Prompts searched with clients that tell a mean and a count."""

from __future__ import annotations

import pytest

from consort.core.errors import BadData, BadParameter
from consort.core.types import Completion
from consort.federate.prompt_search import PromptSearch, prompt_search

SCORES = {"start": (0.5, 0.4), "better": (0.9, 0.6), "one-sided": (1.0, 0.0)}


class Client:
    def __init__(self, id: str, place: int, count: int) -> None:
        self.id, self.place, self.count, self.asked = id, place, count, []

    def grade(self, prompt):
        self.asked.append(prompt)
        return SCORES.get(prompt, (0.1, 0.1))[self.place], self.count


class Proposer:
    name = "proposer"

    def __init__(self, *texts: str) -> None:
        self.texts, self.prompts = texts, []

    def generate(self, prompts, sampling):
        self.prompts += prompts
        return [Completion(self.texts[i % len(self.texts)]) for i in range(len(prompts))]


def test_the_weighted_mean_picks() -> None:
    clients = [Client("a", 0, 10), Client("b", 1, 30)]
    found = prompt_search("start", clients, Proposer("better", "one-sided", "worse"), PromptSearch(rounds=2))
    assert (found.best.prompt, found.best.score) == ("better", pytest.approx((0.9 * 10 + 0.6 * 30) / 40))
    assert clients[0].asked == ["start", "better", "one-sided", "worse"]  # nothing is asked twice
    assert found.epsilon == 0.0


def test_the_start_stays_and_the_proposer_sees_no_example() -> None:
    proposer = Proposer("worse", "", "start")
    found = prompt_search("start", [Client("a", 0, 5)], proposer, PromptSearch(rounds=1))
    assert found.best.prompt == "start" and all("start" in prompt for prompt in proposer.prompts)


def test_noise_is_drawn_for_both_figures_and_accounted() -> None:
    scales = []
    options = PromptSearch(rounds=1, proposals=3, epsilon=8.0)
    found = prompt_search(
        "start", [Client("a", 0, 10)], Proposer("better", "worse", "better"), options,
        noise=lambda scale: scales.append(scale) or 0.0,
    )  # fmt: skip
    assert scales == [1.0] * 6  # 2 / (8 / 4 questions), a sum and a count for three prompts
    assert found.epsilon == pytest.approx(6.0) and found.best.prompt == "better"
    noisy = [prompt_search("start", [Client("a", 0, 10)], Proposer("x"), options).best.score for _ in range(3)]
    assert len(set(noisy)) == 3


def test_clients_that_lie_or_fail_are_left_out(caplog) -> None:
    liar, broken = Client("liar", 0, 10), Client("broken", 0, 10)
    liar.grade = lambda prompt: (7.0, 10)
    broken.grade = lambda prompt: 1 / 0
    found = prompt_search("start", [Client("a", 0, 5), liar, broken], Proposer("better"), PromptSearch(rounds=1))
    assert found.best.clients == 1 and "liar" in caplog.text and "ZeroDivisionError" in caplog.text
    with pytest.raises(BadData, match="no client"):
        prompt_search("start", [liar], Proposer("x"))
    with pytest.raises(BadParameter):
        prompt_search("start", [], Proposer("x"))
