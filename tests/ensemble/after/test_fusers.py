"""Fusers, mixture of agents and debate: what each reads, and what happens when one fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from consort.core.errors import BadCheckpoint, BadParameter, EnvironmentFailure
from consort.core.types import Sampling
from consort.ensemble.after.debate import Debate
from consort.ensemble.after.gen_fuser import GenFuser
from consort.ensemble.after.mixture_of_agents import MixtureOfAgents
from consort.ensemble.answers.prompts import numbered, with_answers
from consort.ensemble.answers.samples import checked_template, filled
from consort.models import FakeModel
from consort.weights import open_checkpoint


def says(name: str, text: str) -> FakeModel:
    return FakeModel(lambda prompt: text, name=name)


class Down:
    name = "down"

    def generate(self, prompts, sampling=None):  # type: ignore[no-untyped-def]
        raise EnvironmentFailure("is down")


class Told:
    """Keeps what it is asked and says a word."""

    def __init__(self, name: str, text: str) -> None:
        self.model, self.name, self.seen = says(name, text), name, []

    def generate(self, prompts, sampling):  # type: ignore[no-untyped-def]
        self.seen += prompts
        return self.model.generate(prompts, sampling)


def test_prompts_by_hand() -> None:
    assert numbered(["a", " b\n"]) == "1. a\n\n2. b"
    assert with_answers("q", "see {answers}!", ["a"]) == "see 1. a!\n\nq"
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "q"}]
    told = with_answers(chat, "see {answers}", ["a"])  # type: ignore[arg-type]
    assert told == [{"role": "system", "content": "see 1. a\n\nbe brief"}, chat[1]]
    assert with_answers(chat[1:], "{answers}", ["a"])[0] == {"role": "system", "content": "1. a"}  # type: ignore[arg-type]
    assert filled("{a} {b}", a="{b}", b="x") == "{b} x"
    with pytest.raises(BadParameter, match="instruction"):
        checked_template("no place", "instruction", "answers")


def test_an_echo_aggregator_returns_the_proposer_s_text() -> None:
    echo = FakeModel(lambda p: p.split("1. ")[1].split("\n")[0], name="echo")
    team = MixtureOfAgents([says("a", "forty two")], echo, layers=1)
    (answer,) = team.generate(["what is six times seven?"])
    assert (answer.text, answer.details["answered_by"]) == ("forty two", "echo")
    assert {name: usage.calls for name, usage in answer.cost.items()} == {"a": 1, "echo": 1}


def test_layers_see_the_layer_before_and_a_failed_proposer_is_skipped() -> None:
    a, last = Told("a", "from a"), Told("last", "done")
    (answer,) = MixtureOfAgents([a, Down()], last, layers=3).generate(["q"])
    assert (len(a.seen), a.seen[0]) == (3, "q")
    assert all("1. from a" in prompt and "2." not in prompt for prompt in [*a.seen[1:], *last.seen])
    assert (answer.text, answer.details["failed"]) == ("done", {"down": "is down"})
    (kept,) = MixtureOfAgents([says("a", "x"), says("b", "y")], Down()).generate(["q"])
    assert (kept.text, kept.details["answered_by"]) == ("x", "a")
    with pytest.raises(EnvironmentFailure):
        MixtureOfAgents([Down()], last).generate(["q"])


def test_a_debate_ends_in_agreement_or_in_a_vote() -> None:
    stubborn, a = Told("stubborn", "it is 3"), Told("a", "it is 4")
    convinced = FakeModel(lambda p: "4" if "it is 4" in p else "5", name="convinced")
    (answer,) = Debate([stubborn, a, convinced], answer="numeric").generate(["q"])
    assert (answer.text, answer.details["votes"]["convinced"], answer.details["rounds"]) == ("it is 4", "4", 2)
    assert a.seen[1].startswith("q\n\nit is 4\n\nOthers have answered") and "1. it is 3" in a.seen[1]
    assert answer.cost["a"].calls == 2
    (short,) = Debate([says("x", "1"), says("y", "1.0")], answer="numeric", rounds=5).generate(["q"])
    assert (short.details["rounds"], short.cost["x"].calls) == (1, 1)


def test_a_debate_in_a_chat_goes_on_with_one_s_own_answer() -> None:
    a = Told("a", "1")
    Debate([a, says("b", "2")]).generate([[{"role": "user", "content": "q"}]])
    assert [turn["role"] for turn in a.seen[1]] == ["user", "assistant", "user"]
    assert a.seen[1][1]["content"] == "1"


def test_an_agent_that_fails_keeps_its_last_answer() -> None:
    class Tires(Told):
        def generate(self, prompts, sampling):  # type: ignore[no-untyped-def]
            if self.seen:
                raise EnvironmentFailure("is tired")
            return super().generate(prompts, sampling)

    (answer,) = Debate([Tires("t", "1"), says("b", "2"), says("c", "1")]).generate(["q"])
    assert (answer.text, answer.details["votes"]) == ("1", {"t": "1", "b": "2", "c": "1"})
    assert answer.details["failed"] == {"t": "is tired"}


def test_the_fuser_sees_the_best_candidates() -> None:
    models = [says("odd", "x y z"), says("a", "a cat sat"), says("b", "the cat sat"), says("c", "cat sat")]
    fuser = Told("fuser", "one answer")
    (answer,) = GenFuser(models, fuser=fuser, top=2).generate(["q"])
    assert (answer.text, answer.details["fused"]) == ("one answer", ("b", "a")) or answer.details["fused"][0] in "abc"
    assert "x y z" not in fuser.seen[0]
    assert set(answer.cost) == {"odd", "a", "b", "c", "fuser"}
    (alone,) = GenFuser([says("a", "x"), says("b", "x")], fuser=fuser).generate(["q"])
    assert (alone.text, set(alone.cost)) == ("x", {"a", "b"})  # nothing to fuse: nobody is asked
    (kept,) = GenFuser(models, fuser=Down()).generate(["q"])
    assert kept.text != "x y z" and kept.details["failed"] == {"down": "is down"}


def test_a_seq2seq_folder_fuses(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "q", "x", "y"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokens.save_pretrained(tmp_path)
    config = T5Config(
        vocab_size=6, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0, pad_token_id=0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    members = [says("a", "x"), says("b", "y")]
    strategy = GenFuser(members, seq2seq=open_checkpoint(tmp_path))
    first, again = strategy.generate(["q", "q"])
    assert first.text == again.text
    assert first.details["answered_by"] == strategy.last_label
    assert first.cost[strategy.writer.name].prompt_tokens == 5  # q <candidate1> x <candidate2> y
    biased = Sampling(max_tokens=4, logit_bias=((4, 1e4),))
    assert strategy.generate(["q"], biased)[0].tokens == (4, 4, 4, 4)
    (answer,) = strategy.generate(["q"], replace(biased, logit_bias=((4, 50.0),), presence_penalty=1e4))
    assert answer.tokens.count(4) == 1
    seeds = {strategy.generate(["q"], Sampling(max_tokens=4, temperature=3.0, seeds=(n,)))[0].tokens for n in range(5)}
    assert len(seeds) > 1
    for bad in ({}, {"fuser": members[0], "seq2seq": open_checkpoint(tmp_path)}):
        with pytest.raises(BadParameter, match="fuser"):
            GenFuser(members, **bad)  # type: ignore[arg-type]
    from consort import lab

    with pytest.raises(BadCheckpoint, match="fuser"):
        GenFuser(members, seq2seq=open_checkpoint(lab.path("base"))).generate(["q"])
