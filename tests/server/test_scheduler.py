"""Continuous batching: answers are those of single requests, whoever comes and goes."""

from __future__ import annotations

import threading
import time

import pytest

import consort as c
from consort.core.errors import BadCheckpoint
from consort.core.types import Sampling
from consort.models.fake import FakeTokenizer, FakeTokenModel
from consort.server.scheduler.scheduler import Scheduler
from consort.server.scheduler.ticket import Done, Failed, Piece


@pytest.fixture
def scheduler():
    made = Scheduler(portion=3, idle=2)
    made.start()
    yield made
    made.close()


def together(scheduler, model, jobs):
    found = [None] * len(jobs)

    def one(i):
        prompts, sampling = jobs[i]
        time.sleep(0.01 * (i % 3))
        found[i] = scheduler.generate(model, prompts, sampling)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def samplings():
    yield Sampling(max_tokens=30)
    yield Sampling(max_tokens=12, temperature=1.0, seed=3)
    yield Sampling(max_tokens=9, temperature=0.7, top_k=3, frequency_penalty=0.5, seed=9)
    yield Sampling(max_tokens=40, stop=("ab",))
    yield Sampling(max_tokens=0)


@pytest.mark.parametrize("kind", ["fake", "average", "as_bytes"])
def test_as_single_requests(scheduler, kind):
    parts = [FakeTokenModel.random(i, FakeTokenizer("abc d")) for i in range(2)]
    model = parts[0] if kind == "fake" else c.average(parts)
    if kind == "as_bytes":
        model = c.average([c.as_bytes(part, covers="all", prune=1e-3, branches=4) for part in parts])
    jobs = [([p, p], s) for s in samplings() for p in ("ab cab cab", "ab cab cab c", "d")]
    if kind == "as_bytes":
        jobs = jobs[::4]
    for (prompts, sampling), answers in zip(jobs, together(scheduler, model, jobs), strict=True):
        for one, right in zip(answers, model.generate(prompts, sampling), strict=True):
            assert (one.text, one.tokens, one.finish_reason) == (right.text, right.tokens, right.finish_reason)
            assert one.logprob == pytest.approx(right.logprob, abs=1e-4)
            assert one.usage.total_tokens == right.usage.total_tokens


def test_pieces_are_the_answer_and_a_cancelled_row_leaves_at_once(scheduler):
    model, heard, done = FakeTokenModel.random(5, FakeTokenizer(eos=False)), [], threading.Event()

    def emit(event):
        heard.append(event)
        if sum(isinstance(e, Piece) for e in heard) == 5:
            ticket.cancelled = True
        if isinstance(event, Done | Failed):
            done.set()

    ticket = scheduler.ticket(model, ["ab"], Sampling(max_tokens=10_000), emit, pieces=True, top=2)
    scheduler.submit(ticket)
    assert done.wait(5)
    end = heard[-1]
    assert end.completion.finish_reason == "cancelled" and len(end.completion.tokens) <= 7
    assert "".join(e.text for e in heard if isinstance(e, Piece)) == end.completion.text
    assert all(told.top[0][1] == told.logprob for told in end.told)
    assert scheduler.at_work == 0


def test_a_beginning_that_was_read_is_not_read_again(scheduler):
    model = FakeTokenModel.random(6)
    long = "abc cab bca abc"
    first = scheduler.generate(model, [long], Sampling(max_tokens=5))[0]
    heard = []
    ticket = scheduler.ticket(model, [long + " c"], Sampling(max_tokens=5), heard.append)
    scheduler.submit(ticket)
    while not heard:
        time.sleep(0.01)
    assert heard[0].cached >= 8
    plain = model.generate([long + " c"], Sampling(max_tokens=5))[0]
    assert heard[0].completion.tokens == plain.tokens
    cost = heard[0].completion.cost[model.name]
    assert cost.completion_tokens == len(plain.tokens)
    assert cost.prompt_tokens == len(long) + 3 - heard[0].cached
    assert first.cost[model.name].prompt_tokens == len(long) + 1


def test_a_broken_row_fails_alone(scheduler):
    def logits(tokens):
        if tokens[-3:] == (1, 1, 1):
            return [float("nan")] * 6
        if tokens[-3:] == (2, 2, 2):
            raise BadCheckpoint("is worn out")
        return [3.0, 2.0, 1.0, 0.5, -9.0, -9.0]

    model = FakeTokenModel(logits)
    jobs = [([text], Sampling(max_tokens=20)) for text in ("a", "abbb", "b", "accc", "ab")]
    outcome = {}

    def one(i):
        try:
            outcome[i] = scheduler.generate(model, *jobs[i])[0].finish_reason
        except BadCheckpoint as error:
            outcome[i] = str(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(jobs))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert "not numbers" in outcome[1] and "worn out" in outcome[3]
    assert [outcome[i] for i in (0, 2, 4)] == ["length"] * 3


def small_hf():
    """A small model whose session copies beginnings, and its tokenizer of bytes."""
    import torch
    import transformers

    from consort.models import ByteTokenizer, HFModel

    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, eos_token_id=None, bos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HFModel("small", transformers.AutoModelForCausalLM.from_config(config), ByteTokenizer(bos=1, eos=0))


@pytest.mark.parametrize("idle", [8, 0])
def test_a_beginning_that_a_running_row_has_read_is_copied(idle):
    model, head = small_hf(), "You are a helpful helper of those who ask. " * 3
    prompts = [head + tail for tail in ("first", "second one", "third", "f")]
    sampling = Sampling(max_tokens=24)
    scheduler, heard = Scheduler(idle=idle), {}
    tickets = [
        scheduler.ticket(model, [p], sampling, lambda event, i=i: heard.update({i: event}))
        for i, p in enumerate(prompts)
    ]
    for number in range(60):
        if number % 5 == 0 and number // 5 < len(tickets):
            scheduler._enter(tickets[number // 5])
        for key in list(scheduler._work):
            scheduler._step(key)
    for i, prompt in enumerate(prompts):
        (alone,) = model.generate([prompt], sampling)
        found = heard[i].completion
        assert found.tokens == alone.tokens and found.text == alone.text
        cost, cached = found.cost["small"], heard[i].cached
        assert (cached >= len(head)) is (i > 0 and idle > 0)
        assert cost.prompt_tokens == len(prompt) - cached and cost.completion_tokens == 24
