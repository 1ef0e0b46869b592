"""The decoding loop: stops, limits, windows, streams, costs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from consort.core.errors import BadCheckpoint, BadData, BadParameter
from consort.core.types import Sampling
from consort.models import ByteTokenizer, FakeTokenizer, FakeTokenModel
from consort.models.decoding.decode import answer_text, batches, prompt_tokens

TOKENIZER = FakeTokenizer("abc")  # a b c <bos> <eos>


def cycle(**options: int) -> FakeTokenModel:
    """After a comes b, after b c, after c the end with .6, else a; after bos a."""
    table = [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0.4, 0, 0, 0, 0.6], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    model = FakeTokenModel.bigram(table, TOKENIZER, name="cycle")
    model.window = options.get("window")
    return model


def test_greedy_answer_by_hand() -> None:
    (answer,) = cycle().generate(["a"], Sampling(max_tokens=9))
    assert (answer.text, answer.tokens, answer.finish_reason) == ("bc", (1, 2, 4), "stop")
    assert answer.logprob == pytest.approx(math.log(0.6))
    assert answer.details["logprobs"] == pytest.approx((0, 0, math.log(0.6)))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.calls) == (2, 3, 1)
    assert {name: replace(usage, seconds=0) for name, usage in answer.cost.items()} == {
        "cycle": replace(answer.usage, seconds=0)
    }


def test_length_ends_at_max_tokens_and_at_the_window() -> None:
    (answer,) = cycle().generate(["a"], Sampling(max_tokens=2))
    assert (answer.text, answer.finish_reason) == ("bc", "length")
    (answer,) = cycle(window=2).generate(["a"], Sampling(max_tokens=9))
    assert (answer.text, answer.finish_reason) == ("b", "length")
    (answer,) = cycle().generate(["a"], Sampling(max_tokens=0))
    assert (answer.text, answer.tokens, answer.finish_reason) == ("", (), "length")


def test_a_stop_string_is_cut_off_even_across_tokens() -> None:
    (answer,) = cycle().generate([""], Sampling(max_tokens=9, stop=("bc", "zz")))
    assert (answer.text, answer.tokens, answer.finish_reason) == ("a", (0, 1, 2), "stop")


def test_a_stream_holds_back_what_may_become_a_stop_string() -> None:
    assert list(cycle().stream("", Sampling(max_tokens=9, stop=("bc",)))) == ["a"]
    assert list(cycle().stream("", Sampling(max_tokens=9, stop=("bb",)))) == ["a", "bc"]
    pieces = cycle().stream("", Sampling(max_tokens=9))
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            assert end.value.text == "abc"
            break


def test_a_stream_never_breaks_a_character() -> None:
    text = "ä€".encode()
    model = FakeTokenModel(lambda t: [float(i == text[len(t) - 1]) for i in range(256)], ByteTokenizer(eos=0))  # type: ignore[arg-type]
    assert list(model.stream("x", Sampling(max_tokens=len(text)))) == ["ä", "€"]


def test_prompts_beyond_the_window_or_empty_are_refused_before_work() -> None:
    with pytest.raises(BadData, match=r"prompts\[1\]: 4 tokens .* cycle, 3"):
        cycle(window=3).generate(["a", "aaa"])
    with pytest.raises(BadData, match=r"prompts\[0\]: is empty"):
        FakeTokenModel(lambda t: [0.0], FakeTokenizer("a", bos=False, eos=False)).generate([""])


def test_an_empty_prompt_starts_from_eos_where_there_is_no_bos() -> None:
    assert prompt_tokens(FakeTokenizer("ab", bos=False), "") == [2]


def test_settings_out_of_range_are_named() -> None:
    for bad in ({"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 2.0}, {"max_tokens": -1}, {"top_k": -1}):
        with pytest.raises(BadParameter, match=next(iter(bad))):
            cycle().generate(["a"], Sampling(**bad))  # type: ignore[arg-type]
    with pytest.raises(BadParameter, match="temperature"):
        cycle().generate(["a"], Sampling(temperature=math.nan))
    with pytest.raises(BadParameter, match="stop"):
        cycle().generate(["a"], Sampling(stop=("",)))


def test_logits_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(BadCheckpoint, match="broken: gives logits that are not numbers"):
        FakeTokenModel(lambda t: [math.nan] * 5, TOKENIZER, name="broken").generate(["a"])


def test_equal_prompts_get_different_draws_and_other_prompts_do_not_matter() -> None:
    model = FakeTokenModel.random(0, FakeTokenizer("abcdefghijkl"))
    sampling = Sampling(max_tokens=12, temperature=1.5, seed=3)
    three = [a.tokens for a in model.generate(["abc", "d", "abc", "abc"], sampling)]
    assert len(set(three)) == 4
    assert [a.tokens for a in model.generate(["abc"] * 3, sampling)] == [three[0], three[2], three[3]]
    assert model.generate(["abc"], replace(sampling, seed=4))[0].tokens != three[0]


def test_small_batches_change_nothing() -> None:
    model = FakeTokenModel.random(1)
    prompts = ["a" * n for n in range(1, 12)]
    wanted = [a.tokens for a in model.generate(prompts, Sampling(max_tokens=5))]
    model.batch_tokens = 1
    assert [a.tokens for a in model.generate(prompts, Sampling(max_tokens=5))] == wanted


def test_batches_are_bounded_and_longest_first() -> None:
    assert list(batches([1, 5, 2, 5], 10)) == [[1, 3], [2, 0]]
    assert list(batches([20, 1], 10)) == [[0], [1]]
    assert list(batches([], 10)) == []


def test_answers_are_decoded_where_they_stand() -> None:
    class Words:
        """Decodes as sentencepiece does: the space before the first word is dropped."""

        def decode(self, tokens: list[int]) -> str:
            return " ".join(f"w{t}" for t in tokens)

    assert answer_text(Words(), [1, 2], [3, 4]) == " w3 w4"  # type: ignore[arg-type]
