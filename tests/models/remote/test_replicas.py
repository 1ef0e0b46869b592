"""One model at several addresses: order, balance, and what becomes of the requests of one that fails."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import pytest

from consort.core.errors import BadParameter, BadPlan, ConsortError, EnvironmentFailure, Incompatible, UnknownName
from consort.core.types import Completion, Sampling
from consort.models import RemoteModel, Replicas, remote_model
from consort.models.remote.reference import identity_of
from tests.models.remote import misbehaving as m
from tests.models.remote.misbehaving import Ask, Misbehaving, Play, piece

PROMPTS = [f"number {i}" for i in range(40)]
KEYS = ("sk-CANARY-aaaaaaaa", "sk-CANARY-bbbbbbbb")


class Fleet:
    """Endpoints that all have the model `m`; `given` counts the whole answers to each prompt, by all of them."""

    def __init__(self) -> None:
        self.stack, self.servers, self.models = ExitStack(), list[Misbehaving](), list[Replicas]()
        self.given, self._lock = Counter[str](), Lock()

    def add(self, play: Play | None = None) -> Misbehaving:
        self.servers.append(self.stack.enter_context(m.misbehaving({"m": play or self.good})))
        return self.servers[-1]

    def good(self, ask: Ask, text: str = "", **more: Any) -> None:
        prompt = ask.body.get("prompt") or ask.body["messages"][0]["content"]
        text = text or f" to {prompt}: yes"
        with self._lock:  # before the asker has it, and may look
            self.given[prompt] += 1
        if ask.body.get("stream"):
            items = [piece(word, **more) for word in text.split(":")] + [piece("", "stop"), "[DONE]"]
            m.streamed(ask, items)
        else:
            ask.reply({"model": "m", **m.answer(m.choice(text, ask)), **more})

    def slow(self, ask: Ask) -> None:
        time.sleep(0.01)
        self.good(ask)

    def model(self, **options: Any) -> Replicas:
        self.models.append(Replicas("m", [server.url for server in self.servers], **{"sleep": m.brief, **options}))
        return self.models[-1]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    made = Fleet()
    yield made
    for model in made.models:
        model.close()
    made.stack.close()


def awaited(model: Any, prompts: list[Any], sampling: Sampling = Sampling()) -> list[Completion]:
    async def ask() -> list[Completion]:
        try:
            return list(await model.answers(prompts, sampling))
        finally:
            await model.leave()

    return asyncio.run(ask())


def blocking(model: Any, prompts: list[Any], sampling: Sampling = Sampling()) -> list[Completion]:
    return list(model.generate(prompts, sampling))


WAYS = pytest.mark.parametrize("way", [blocking, awaited])


def plain(answers: list[Completion]) -> list[Completion]:
    """Without the time that they took."""
    still = [replace(a, usage=replace(a.usage, seconds=0)) for a in answers]
    return [replace(a, cost={name: a.usage for name in a.cost}) for a in still]


@WAYS
def test_answers_are_in_order_and_what_one_endpoint_gives(fleet: Fleet, way: Callable[..., Any]) -> None:
    for _ in range(4):
        fleet.add(fleet.slow)
    alone = RemoteModel("m", fleet.servers[0].url)
    expected = plain(way(alone, PROMPTS))
    alone.transport.close()
    for server in fleet.servers:
        server.seen.clear()
    fleet.given.clear()
    found = way(fleet.model(concurrency=2), PROMPTS)
    assert plain(found) == expected and list(found[0].cost) == ["m"]
    shares = [server.seen["m"] for server in fleet.servers]
    assert sum(shares) == len(PROMPTS) and min(shares) >= 5  # 10 each, were all equally fast
    assert fleet.given == Counter(PROMPTS)


def dies(count: int, how: Play) -> Callable[[Fleet], Play]:
    return lambda fleet: lambda ask: fleet.slow(ask) if ask.number < count else how(ask)


def cut(ask: Ask) -> None:
    ask.head(headers={"content-length": "999"})
    ask.send(b'{"choices": [')


DEATHS = {
    "closes": dies(3, lambda ask: None),
    "500": dies(3, lambda ask: ask.error(500, "oops")),
    "503-with-a-wish": dies(3, lambda ask: ask.error(503, "starting", {"retry-after": "3600"})),
    "cut": dies(3, cut),
    "html": dies(3, lambda ask: ask.reply(b"<html>")),
    "hangs": dies(3, m.hang),
    "key": dies(3, lambda ask: ask.error(401, "no such key")),
    "quota": dies(3, lambda ask: ask.error(429, "no money", code="insufficient_quota")),
    "model": dies(3, lambda ask: ask.error(404, "no such model", code="model_not_found")),
}


@WAYS
@pytest.mark.parametrize("death", DEATHS)
def test_what_a_replica_loses_others_answer(
    fleet: Fleet, way: Callable[..., Any], death: str, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.add(fleet.slow)
    lost = fleet.add(DEATHS[death](fleet))
    fleet.add(fleet.slow)
    patience = {"patience": 3, "cooldown_s": 60, "timeout_s": 0.5 if death == "hangs" else 10}
    found = way(fleet.model(concurrency=2, **patience), PROMPTS)
    assert [answer.text for answer in found] == [f" to {prompt}: yes" for prompt in PROMPTS]
    assert fleet.given == Counter(PROMPTS)
    moved = lost.seen["m"] - 3
    assert 1 <= moved <= 5  # three in a row, what was under way then, and one more where an answer came between them
    said = [record.message for record in caplog.records if "went on from" in record.message]
    assert len(said) == 1 and lost.url in said[0] and f"m: {moved} request" in said[0]


@WAYS
def test_a_machine_that_is_lost(fleet: Fleet, way: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing listens there any more, from the fourth request on."""
    fleet.add(fleet.slow)
    lost = fleet.add()

    def last(ask: Ask) -> None:
        if ask.number >= 3:
            lost.close()
            return
        fleet.slow(ask)

    lost.plays["m"] = last
    found = way(fleet.model(concurrency=2), PROMPTS)
    assert [answer.text for answer in found] == [f" to {prompt}: yes" for prompt in PROMPTS]
    assert fleet.given == Counter(PROMPTS)
    assert f"from {lost.url} to another replica: cannot be reached" in caplog.text


@WAYS
def test_where_all_are_lost_there_is_one_error(fleet: Fleet, way: Callable[..., Any]) -> None:
    fleet.add(lambda ask: ask.error(500, "oops"))
    fleet.add(m.hang)
    fleet.add(lambda ask: None).close()
    begun = time.perf_counter()
    with pytest.raises(EnvironmentFailure, match="none of its 3 replicas answers: ") as caught:
        way(fleet.model(timeout_s=0.3), PROMPTS)
    assert caught.value.field == "m" and caught.value.hint and caught.value.exit_code == 3
    assert all(server.url in str(caught.value) for server in fleet.servers)
    assert "500: oops" in str(caught.value) and "has not answered" in str(caught.value)
    assert time.perf_counter() - begun < 5


def test_faults_of_the_moment_are_tried_again(fleet: Fleet) -> None:
    fleet.add(m.after(2, lambda ask: ask.error(500, "oops"), fleet.good))
    fleet.add(m.after(1, lambda ask: ask.error(500, "oops"), fleet.good))
    waits: list[float] = []
    model = fleet.model(sleep=waits.append)
    assert model.generate(["a"])[0].text == " to a: yes"
    assert waits == [0.5]  # after a round of two faults; the third moves on at once
    with pytest.raises(EnvironmentFailure, match="none of its 2 replicas"):
        fleet.servers[0].plays["m"] = fleet.servers[1].plays["m"] = lambda ask: ask.error(500, "oops")
        fleet.model(retries=1).generate(["a"])
    assert fleet.servers[0].seen["m"] == 2 + 2


def test_a_name_that_nobody_knows_is_the_users_mistake(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.add(lambda ask: ask.error(404, "no m here", code="model_not_found"))
    with pytest.raises(UnknownName, match="no m here") as caught:
        fleet.model().generate(["a"])
    assert caught.value.exit_code == 2 and all(server.seen["m"] == 1 for server in fleet.servers)


def test_what_is_wrong_with_the_request_is_told_at_once(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.add(lambda ask: ask.error(400, "too hot"))
    with pytest.raises(BadParameter, match="too hot"):
        fleet.model().generate(["a"])
    assert sum(server.seen["m"] for server in fleet.servers) == 1


@WAYS
def test_a_busy_replica_is_left_alone_and_then_asked_again(fleet: Fleet, way: Callable[..., Any]) -> None:
    def busy(ask: Ask) -> None:
        ask.error(429, "slow", {"retry-after-ms": "100"}) if ask.number == 0 else fleet.slow(ask)

    seen: list[float] = []

    def noted(ask: Ask) -> None:
        seen.append(time.monotonic())
        busy(ask)

    fleet.add(noted)
    fleet.add(fleet.slow)
    way(fleet.model(concurrency=1), PROMPTS)
    assert fleet.given == Counter(PROMPTS) and len(seen) > 2 and seen[1] - seen[0] >= 0.1


def test_where_all_are_busy_it_is_waited_for_as_long_as_they_ask(fleet: Fleet) -> None:
    for wait in ("400", "50"):
        busy = lambda ask, wait=wait: ask.error(429, "slow", {"retry-after-ms": wait})  # noqa: E731
        fleet.add(m.after(1, busy, fleet.good))
    begun = time.monotonic()
    model = fleet.model(sleep=time.sleep)
    assert model.generate(["a"])[0].text == " to a: yes"
    assert 0.05 <= time.monotonic() - begun < 0.4 and fleet.servers[1].seen["m"] == 2
    for server in fleet.servers:
        server.plays["m"] = lambda ask: ask.error(429, "slow", {"retry-after": "86400"})
    with pytest.raises(EnvironmentFailure, match="429: slow"):
        fleet.model(sleep=time.sleep).generate(["a"])


def test_one_that_was_out_is_asked_one_request_at_a_time(fleet: Fleet) -> None:
    together, most = [0], [0]

    def recovers(ask: Ask) -> None:
        together[0] += 1
        most[0] = max(most[0], together[0])
        time.sleep(0.02)
        together[0] -= 1
        ask.error(500, "oops") if ask.number < 4 else fleet.good(ask)

    fleet.add(recovers)
    fleet.add(fleet.slow)
    model = fleet.model(concurrency=4, patience=1, cooldown_s=0.01)
    model.generate(PROMPTS[:8])  # four at once are lost
    assert most[0] > 1
    most[0] = 0
    fleet.servers[0].seen["m"] = 0
    time.sleep(0.02)
    with suppress(ConsortError):
        model.generate(PROMPTS)
    assert fleet.servers[0].seen["m"] >= 1 and fleet.given[PROMPTS[-1]] == 1
    alone = fleet.servers[0].seen["m"]
    assert most[0] == 1 if alone <= 4 else model.board.standings[0].failures == 0


def met(all_of_them: Barrier, play: Play) -> Play:
    """Answers once each has been asked."""

    def wait(ask: Ask) -> None:
        all_of_them.wait()
        play(ask)

    return wait


def test_replicas_that_are_different_models_are_refused(fleet: Fleet) -> None:
    both = Barrier(2, timeout=5)
    fleet.add(met(both, fleet.good))
    fleet.add(met(both, lambda ask: fleet.good(ask, model="another")))
    with pytest.raises(Incompatible, match="not one model") as caught:
        fleet.model(concurrency=1).generate(["a", "b"])
    assert all(server.url in str(caught.value) for server in fleet.servers) and "another" in str(caught.value)
    assert caught.value.exit_code == 2 and caught.value.hint


def test_texts_are_taken_at_one_path_by_all(fleet: Fleet) -> None:
    both = Barrier(2, timeout=5)
    fleet.add(met(both, fleet.good))
    fleet.add(lambda ask: met(both, fleet.good)(ask) if ask.is_chat else ask.reply(b"", 404))
    with pytest.raises(Incompatible, match="takes texts at '/"):
        fleet.model(concurrency=1).generate(["a", "b"])


def test_other_fingerprints_are_told_once(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    both = Barrier(2, timeout=5)
    for number in range(2):
        fleet.add(met(both, partial(fleet.good, system_fingerprint=f"fp{number}")))
    model = fleet.model(concurrency=1)
    model.generate(PROMPTS[:6])
    model.generate(PROMPTS[:6])
    said = [record.message for record in caplog.records if "set up differently" in record.message]
    assert len(said) == 1 and "'fp0', 'fp1'" in said[0]


def test_each_replica_has_its_key_and_none_is_shown(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, key in zip("AB", KEYS, strict=True):
        monkeypatch.setenv(f"KEY_{name}", key)
    fleet.add(fleet.slow)
    fleet.add(dies(2, lambda ask: ask.error(500, f"bad {KEYS[1]}"))(fleet))
    model = fleet.model(concurrency=1, api_key_env="KEY_A,KEY_B")
    answers = model.generate(PROMPTS)
    assert [server.keys for server in fleet.servers] == [{f"bearer {key.lower()}"} for key in KEYS]
    for server, key in zip(fleet.servers, KEYS, strict=True):
        server.plays["m"] = lambda ask, key=key: ask.error(401, f"bad {key}")  # type: ignore[misc]
    with pytest.raises(EnvironmentFailure) as caught:
        fleet.model(api_key_env="KEY_A,KEY_B").generate(["a"])
    shown = "".join([caplog.text, str(caught.value), repr(answers), repr(vars(model)), model.source])
    assert "went on from" in shown and "bad [key]" in shown and "CANARY" not in shown


def streams(items: list[Any], then: Play | None = None) -> Play:
    """A stream of these that breaks off."""
    return lambda ask: m.streamed(ask, items)


async def pieces_of(model: Any, prompt: str) -> tuple[list[str], Completion]:
    told = [one async for one in model.pieces(prompt)]
    await model.leave()
    return told[:-1], told[-1]


def stream_of(model: Any, prompt: str, way: str) -> tuple[list[str], Completion]:
    if way == "awaited":
        return asyncio.run(pieces_of(model, prompt))
    pieces, told = model.stream(prompt), []
    while True:
        try:
            told.append(next(pieces))
        except StopIteration as end:
            return told, end.value


@pytest.mark.parametrize("way", ["blocking", "awaited"])
@pytest.mark.parametrize(
    "first",
    [
        [piece(" to")],
        [piece(" to a"), piece(" y")],
        [piece(" to a"), {"error": {"message": "CUDA", "code": 500}}],
        [piece(" to a"), b"data: {\n\n"],
    ],
    ids=["early", "in-a-word", "error", "damaged"],
)
def test_a_stream_that_breaks_off_is_told_on(
    fleet: Fleet, way: str, first: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    lost = fleet.add(streams(first))
    fleet.add(lambda ask: m.streamed(ask, [piece(w, model="m") for w in (" to", " a", " yes")] + [piece("", "stop")]))
    told, completion = stream_of(fleet.model(), "a", way)
    assert "".join(told) == completion.text == " to a yes"
    assert f"1 request went on from {lost.url}" in caplog.text


@pytest.mark.parametrize("way", ["blocking", "awaited"])
@pytest.mark.parametrize("words", [(" to", " b"), (" t",)])
def test_a_stream_that_another_would_tell_otherwise_is_an_error(fleet: Fleet, way: str, words: tuple[str]) -> None:
    fleet.add(streams([piece(" to"), piece(" a")]))
    fleet.add(lambda ask: m.streamed(ask, [*map(piece, words), piece("", "stop")]))
    with pytest.raises(Incompatible, match="gives another answer"):
        stream_of(fleet.model(), "a", way)


def test_a_stream_that_nobody_begins(fleet: Fleet) -> None:
    fleet.add(streams([]))
    fleet.add(lambda ask: ask.error(500, "oops"))
    with pytest.raises(EnvironmentFailure, match="none of its 2 replicas"):
        stream_of(fleet.model(retries=0), "a", "blocking")
    assert all(standing.in_flight == 0 for standing in fleet.models[0].board.standings)


def test_a_stream_that_is_called_off_leaves_its_place(fleet: Fleet) -> None:
    fleet.add()
    fleet.add()
    model = fleet.model()
    pieces = model.stream("a")
    assert next(pieces) and model.board.standings[0].in_flight == 1
    pieces.close()
    assert model.board.standings[0].in_flight == 0


def test_likelihoods_are_asked_of_all(fleet: Fleet) -> None:
    for _ in range(2):
        fleet.add(m.echo(["a", " b"], [None, -0.5]))
    fleet.servers[0].plays["m"] = m.after(1, lambda ask: ask.error(500, "oops"), fleet.servers[1].plays["m"])
    assert fleet.model().score([("a", " b"), ("a", ""), ("a", " b")]) == [-0.5, 0.0, -0.5]


def test_references_and_plans_name_several_addresses() -> None:
    from consort.plan import build, parse, to_plan

    text = "openai:m@http://a/v1,https://b/v1?retries=1&api_key_env=KA%2CKB"
    described = {"openai": "m", "url": ["http://a/v1", "https://b/v1"], "retries": 1, "api_key_env": ["KA", "KB"]}
    for written in (text, described):
        model = build(parse(written), "model")
        assert isinstance(model, Replicas) and model.source == text and to_plan(model) == text
        assert [r.key.variable for r in model.replicas] == ["KA", "KB"] and model.concurrency == 16
    team = build(parse({"vote": {"models": [text, "openai:n@http://c/v1"], "answer": "exact"}}), "model")
    assert json.loads(json.dumps(to_plan(team)))["vote"]["models"][0] == text
    assert isinstance(remote_model("openai:m@http://a/v1"), RemoteModel)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("openai:m@http://a/v1,http://a/v1/", "twice"),
        ("openai:m@http://a/v1,http://u:p@b/v1", "no base URL"),
        ("openai:m@http://a/v1,http://b/v1?api_key_env=A,B,C", "3 variables for 2 addresses"),
        ("openai:m@http://a/v1?api_key_env=A,B", "2 variables for 1 address"),
        ({"openai": "m", "url": []}, "is not a string"),
        ({"openai": "m", "url": ["http://a/v1", 3]}, "is not a string"),
        ({"openai": "m", "url": ["http://a/v1", "http://a/v1"]}, "twice"),
        ({"openai": "m", "url": ["http://a/v1", "http://b/v1?retries=1"]}, "no query"),
    ],
)
def test_what_names_no_replicas(written: Any, says: str) -> None:
    from consort.plan import build, parse

    with pytest.raises((BadParameter, BadPlan), match=says) as caught:
        build(parse(written), "model")
    assert caught.value.hint


def test_a_model_is_the_same_whoever_answers() -> None:
    """Runs go on with what they know where addresses are added, or are asked with other patience."""
    from consort.runs import pool

    names = ["openai:m@http://a/v1", "openai:m@http://a/v1,http://b/v1", "openai:m@http://a/v1,http://c/v1?retries=9"]
    assert {identity_of(name) for name in names} == {"openai:m@http://a/v1"}
    assert identity_of("openai:n@http://a/v1") != identity_of(names[0])
    assert len({pool.identity_of(pool.Member(name, "m", None)) for name in names}) == 1


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    from consort.cli.border import run as program

    code = program([str(argument) for argument in arguments])
    return (code, *capsys.readouterr())


def test_the_program_tells_what_went_on_and_loses_nothing(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`eval` and `generate` over three addresses of which one dies: the scores of one that does not."""
    rows = [{"prompt": p, "target": f"to {p}: yes" if i % 3 else "no", "split": "test"} for i, p in enumerate(PROMPTS)]
    (tmp_path / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for play in (fleet.slow, DEATHS["closes"](fleet), fleet.slow):
        fleet.add(play)
    name = f"openai:m@{','.join(server.url for server in fleet.servers)}?concurrency=2"
    alone = f"openai:m@{fleet.servers[0].url}"
    code, out, err = run(capsys, "eval", name, alone, "--task", tmp_path / "task.jsonl", "--json")
    told = json.loads(out)
    first, second = ({**system, "model": "", "seconds": 0, "difference": 0} for system in told["systems"])
    for system in (first, second):
        system["usage"]["seconds"] = system["cost"]["m"]["seconds"] = 0
    assert code == 0 and first == second and first["score"] == pytest.approx(26 / 40)
    assert any("went on from" in text and fleet.servers[1].url in text for text in told["warnings"])
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    code, out, err = run(capsys, "generate", name, "--prompts", prompts)
    assert code == 0 and out.splitlines() == [f" to {prompt}: yes" for prompt in PROMPTS]
    assert "went on from" in err
    for server in fleet.servers:
        server.close()
    code, out, err = run(capsys, "generate", f"{name}&retries=0", "--prompts", prompts)
    lines = err.strip().splitlines()
    assert code == 3 and out == "" and [line.split(":")[0] for line in lines[-2:]] == ["error", "hint"]
    assert "none of its 3 replicas answers" in lines[-2]
