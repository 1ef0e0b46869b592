"""Endpoints and the bridge to transformers, as found in the field (E1 to E18); see also tests/models/remote."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import torch

from consort.core.errors import BadParameter, BadPlan, ConsortError, EnvironmentFailure, Unsupported
from consort.core.types import Completion
from consort.models.fake import FakeModel
from consort.models.remote.model import RemoteModel
from consort.models.remote.reference import check_url
from consort.models.remote.wire.answers import answer_of, completion_of
from consort.models.remote.wire.echo import Untold, echoed_logprob
from consort.models.remote.wire.events import events_of, lines_of
from consort.plan.build import build
from consort.plan.expression import dump, parse
from consort.plan.objects import to_plan

URL = "http://127.0.0.1:9/v1"
GOOD = {"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]}
Answer = Callable[[dict[str, Any], int], httpx.Response]


@pytest.fixture
def behind() -> Iterator[Callable[..., tuple[RemoteModel, list[dict[str, Any]]]]]:
    """A model behind a function from (body, number of the request) to a response, and the bodies it has seen."""
    made: list[RemoteModel] = []

    def make(answer: Answer, **options: Any) -> tuple[RemoteModel, list[dict[str, Any]]]:
        seen: list[dict[str, Any]] = []
        lock = threading.Lock()

        def handle(request: httpx.Request) -> httpx.Response:
            with lock:
                seen.append(json.loads(request.content))
                number = len(seen)
            return answer(seen[number - 1], number)

        options = {"sleep": lambda seconds: None, "http": httpx.MockTransport(handle), **options}
        made.append(RemoteModel("m", URL, **options))
        return made[-1], seen

    yield make
    for model in made:
        model.transport.close()


def echo(tokens: list[str], values: list[float | None], **more: Any) -> dict[str, Any]:
    return {"text": "".join(tokens), "logprobs": {"tokens": tokens, "token_logprobs": values, **more}}


def test_E1_trailing_spaces_of_the_context_move_over() -> None:
    found = echo(["The", " cat", " sat", " on", "!"], [None, -1.0, -2.0, -4.0, -8.0])
    assert echoed_logprob(found, "The cat ", "sat on") == -6.0
    assert echoed_logprob(found, "The cat", " sat on") == -6.0
    assert echoed_logprob(found, "The", " cat sat on") == -7.0


def test_E1_equals_the_local_score(shared: Any) -> None:
    from consort.models import load_model

    model = load_model(shared / "models" / "stories260K")
    pairs = [("The cat ", "sat on the mat"), ("Once upon a", " time there was"), ("café", " olé ñ"), ("", "Lily ran")]
    for (context, continuation), local in zip(pairs, model.score(pairs), strict=True):
        ids = model.tokenizer.encode(context + continuation)
        whole = [model.tokenizer.decode(ids[: i + 1]) for i in range(len(ids))]
        tokens = [b[len(a) :] for a, b in zip(["", *whole], whole, strict=False)]
        values = [None, *model.logprobs([ids])[0].tolist()]
        assert echoed_logprob(echo(tokens, values), context, continuation) == pytest.approx(local, abs=1e-4)


def test_E1_a_token_of_both_is_refused() -> None:
    with pytest.raises(Untold, match="letters of both context and continuation"):
        echoed_logprob(echo(["very", " happy", " to"], [None, -1.0, -2.0]), "very hap", "py to")


@pytest.mark.parametrize("tokens", [["d", "e"], [" cat sat"], ["The cat sa", "x"]])
def test_E2_an_echo_of_another_text_is_refused(behind: Any, tokens: list[str]) -> None:
    told = {"choices": [echo(tokens, [-1.0] * len(tokens))]}
    model, seen = behind(lambda body, number: httpx.Response(200, json=told))
    with pytest.raises(Unsupported, match="another text"):
        model.score([("The cat", " sat")])
    assert len(seen) == 1


def test_E2_offsets_in_bytes_do_not_matter_where_tokens_are_told() -> None:
    found = echo(["é", " o", "l"], [None, -1.0, -2.0], text_offset=[0, 2, 4])
    assert echoed_logprob(found, "é", " ol") == -3.0


@pytest.mark.parametrize(
    "told",
    [
        {"content": []},
        {"content": [{"token": "one", "logprob": -0.1}]},
        {"content": [{"token": "one two", "logprob": 5.0}]},
        {"content": [{"token": "one two"}]},
        {"content": [{"token": "one two", "logprob": None}]},
        None,
    ],
)
def test_E3_what_is_missing_or_impossible_is_unknown(told: Any) -> None:
    said = {"message": {"role": "assistant", "content": "one two"}, "finish_reason": "stop", "logprobs": told}
    assert completion_of(answer_of({"choices": [said]})).logprob is None


def test_E3_a_cascade_asks_on_where_nothing_is_told(behind: Any) -> None:
    from consort.ensemble.after.cascade import Cascade

    told = {"message": {"content": "weak"}, "finish_reason": "stop", "logprobs": {"content": []}}
    model, _ = behind(lambda body, number: httpx.Response(200, json={"choices": [told]}))
    strong = FakeModel({"x": "strong"}, name="strong")
    answer = Cascade([model, strong], threshold=0.9).generate([[{"role": "user", "content": "x"}]])[0]
    assert answer.details["answered_by"] == "strong"


@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        ({"message": {"content": ""}, "finish_reason": "content_filter"}, "content_filter"),
        ({"message": {"content": None, "tool_calls": [{"id": "1"}]}, "finish_reason": "tool_calls"}, "tool_calls"),
        ({"message": {"content": None, "refusal": "I can't"}, "finish_reason": "stop"}, "refusal"),
        ({"message": {"content": "", "reasoning_content": "hm"}, "finish_reason": "stop"}, "reasoning"),
    ],
)
def test_E4_why_an_answer_ended_is_kept_counted_and_told(
    behind: Any, caplog: pytest.LogCaptureFixture, choice: Any, finish: str
) -> None:
    model, _ = behind(lambda body, number: httpx.Response(200, json={"choices": [choice]}))
    assert [a.finish_reason for a in model.generate(["x", "y"])] == [finish, finish]
    model.generate(["z"])
    assert model.ended == {finish: 3}
    assert caplog.text.count(f"2 of 2 answers ended by '{finish}'") == 1
    assert caplog.text.count("ended by") == 1


def test_E4_eval_tells_how_answers_ended(behind: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    from consort.data import load_task
    from consort.evaluate import evaluate

    (tmp_path / "t.jsonl").write_text('{"prompt": "p", "target": "a", "split": "test"}\n' * 3)
    filtered = {"choices": [{"text": "", "finish_reason": "content_filter"}]}
    model, _ = behind(lambda body, number: httpx.Response(200, json=filtered if number < 3 else GOOD), concurrency=1)
    result = evaluate(model, load_task(tmp_path / "t.jsonl"))
    assert result.figures["ended_content_filter"] == 2.0
    assert "of 3 answers ended 2 by content_filter" in caplog.text


def test_E5_log_probabilities_are_known_answer_by_answer(behind: Any) -> None:
    told = {"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-0.5]}}]}
    model, seen = behind(lambda body, number: httpx.Response(200, json=GOOD if number == 1 else told))
    assert [model.generate([p])[0].logprob for p in "xyz"] == [None, -0.5, -0.5]
    assert all("logprobs" in body for body in seen) and model.gives_logprob


def test_E6_choices_are_taken_by_index() -> None:
    two = {"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]}
    assert completion_of(answer_of(two)).text == "a"


def test_E7_a_rate_limit_is_waited_for_and_is_no_failure(behind: Any) -> None:
    def answer(body: Any, number: int) -> httpx.Response:
        if number <= 40:
            return httpx.Response(429, headers={"retry-after": "0"}, json={"error": {"message": "slow"}})
        return httpx.Response(200, json=GOOD)

    model, _ = behind(answer, retries=0, patience=1)
    assert [a.text for a in model.generate(list("abcdefgh"))] == ["a"] * 8


def test_E7_the_breaker_counts_requests_not_tries(behind: Any) -> None:
    tried: set[str] = set()

    def answer(body: Any, number: int) -> httpx.Response:
        is_first = body["prompt"] not in tried
        tried.add(body["prompt"])
        return httpx.Response(500 if is_first else 200, json=GOOD)

    model, _ = behind(answer, patience=2)
    assert len(model.generate(list("abcdefgh"))) == 8


def test_E8_the_key_is_hidden_before_a_text_is_cut(behind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-CANARY-0123456789"
    monkeypatch.setenv("CONSORT_API_KEY", key)
    for at in range(270, 312):
        said = {"error": {"message": "x" * at + key}}
        model, _ = behind(lambda body, number, said=said: httpx.Response(400, json=said))
        with pytest.raises(BadParameter) as caught:
            model.generate(["x"])
        assert "sk-C" not in repr(caught.value) + str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_E10_lines_end_where_the_protocol_says(end: str) -> None:
    text = f"data: a\u2028b\x0bc\x85{end}: hm{end}{end}event: x{end}data:d{end}data: e{end}{end}".encode()
    for size in (1, 2, 3, 100):
        chunks = [text[i : i + size] for i in range(0, len(text), size)]
        assert list(events_of(lines_of(chunks))) == ["a\u2028b\x0bc\x85", "d", "e"]


def collected(stream: Any) -> tuple[list[str], Completion]:
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


def test_E11_a_stream_behaves_as_generate(behind: Any) -> None:
    said = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}

    def answer(body: Any, number: int) -> httpx.Response:
        if "prompt" in body:
            return httpx.Response(404)
        if number < 5:
            return httpx.Response(429, headers={"retry-after-ms": "1"})
        return httpx.Response(200, content=f"data: {json.dumps(said)}\n\ndata: [DONE]\n\n".encode())

    model, _ = behind(answer)
    assert collected(model.stream("x"))[0] == ["a"]


@pytest.mark.parametrize(
    "url",
    ["http://[::1/v1", "http://x:99999/v1", "http://x:y/v1", "http://a b/v1", "http://x/v1\n", "http://", "http://.x./",
     "http://[::ffff:169.254.169.254]/v1", "http://2852039166/v1", "http://x@y/v1", "http://x/v1#a"],
)  # fmt: skip
def test_E12_bad_urls_are_refused_by_name(url: str) -> None:
    with pytest.raises(BadParameter, match="base_url"):
        check_url(url)
    with pytest.raises(ConsortError):
        build(parse(f"openai:m@{url}"))


@pytest.mark.parametrize("key", ["“sk-CANARY-0123”", "sk-CANARY\nX: y", "sk CANARY", "sk-CANARYé"])
def test_E12_a_key_that_cannot_be_sent_is_refused_by_name(
    behind: Any, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("CONSORT_API_KEY", key)
    model, seen = behind(lambda body, number: httpx.Response(200, json=GOOD))
    with pytest.raises(BadParameter, match="CONSORT_API_KEY") as caught:
        model.generate(["x"])
    assert "CANARY" not in str(caught.value) + str(caught.value.hint) and not seen


def test_E12_a_key_in_place_of_a_variable_is_not_shown() -> None:
    with pytest.raises(BadParameter, match="api_key_env") as caught:
        RemoteModel("m", URL, api_key_env="sk-CANARY-0123")
    assert "CANARY" not in str(caught.value)


def test_E13_what_an_endpoint_wants_is_learned_once_and_told_once(
    behind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(body: Any, number: int) -> httpx.Response:
        for name in ("max_tokens", "logprobs", "seed"):
            if name in body:
                hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
                said = {"message": f"Unsupported parameter: '{name}'.{hint}", "param": name, "type": "invalid_request"}
                return httpx.Response(400, json={"error": said})
        return httpx.Response(200, json=GOOD)

    model, seen = behind(answer, concurrency=1)
    assert len(model.generate(["x", "y", "z"])) == 3
    assert len(seen) == 6 and seen[-1]["max_completion_tokens"] == 64
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(told) == 3 and not model.gives_logprob


def test_E13_an_error_of_status_200_is_an_error(behind: Any) -> None:
    model, seen = behind(lambda body, number: httpx.Response(200, json={"error": {"message": "no such thing"}}))
    with pytest.raises(EnvironmentFailure, match="no such thing"):
        model.generate(["x"])
    assert len(seen) == 1


def test_E13_milliseconds_are_honoured(behind: Any) -> None:
    waits: list[float] = []
    busy = httpx.Response(429, headers={"retry-after-ms": "1500", "retry-after": "9"})
    model, _ = behind(lambda body, number: busy if number == 1 else httpx.Response(200, json=GOOD), sleep=waits.append)
    model.generate(["x"])
    assert waits == [1.5]


def test_E14_settings_stand_in_references_and_plans() -> None:
    mapping = {"openai": "org/m", "url": URL, "timeout_s": 3, "retries": 0, "concurrency": 2, "api_key_env": "MY_KEY"}
    text = f"openai:org/m@{URL}?timeout_s=3&retries=0&concurrency=2&api_key_env=MY_KEY"
    assert dump(parse(mapping)) == text and parse(text) == parse(mapping)
    model = build(parse(text))
    assert (model.name, model.base_url, model.key.variable) == ("org/m", URL, "MY_KEY")
    assert [model.settings[n] for n in ("timeout_s", "retries", "concurrency")] == [3.0, 0, 2]
    assert to_plan(model) == text
    assert to_plan(build(parse(f"openai:m@{URL}"))) == f"openai:m@{URL}"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (f"openai:m@{URL}?timeout=3", "no option 'timeout'"),
        (f"openai:m@{URL}?retries=-1", "outside"),
        (f"openai:m@{URL}?retries=1&retries=2", "twice"),
        (f"openai:m@{URL}?x", "cannot be read"),
        ({"openai": "m"}, "url"),
        ({"openai": "m", "url": URL, "timeout_s": "soon"}, "not float"),
    ],
)
def test_E14_what_is_wrong_with_settings_is_said(given: Any, says: str) -> None:
    with pytest.raises((BadParameter, BadPlan), match=says):
        build(parse(given))


def test_E14_a_variable_that_is_named_must_be_set(behind: Any) -> None:
    model, _ = behind(lambda body, number: httpx.Response(200, json=GOOD), api_key_env="CONSORT_NO_SUCH_KEY")
    with pytest.raises(BadParameter, match="CONSORT_NO_SUCH_KEY"):
        model.generate(["x"])


@pytest.fixture(scope="module")
def pair() -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from consort.lab import path

    models = [AutoModelForCausalLM.from_pretrained(path(name)) for name in ("target", "draft")]
    return *models, AutoTokenizer.from_pretrained(path("target"))("Once upon a time", return_tensors="pt")


class Heard:
    """A streamer that keeps what it hears."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.is_over = False

    def put(self, value: torch.Tensor) -> None:
        self.got.append(value.tolist())

    def end(self) -> None:
        self.is_over = True


def test_E16_a_streamer_hears_what_generate_tells_it(pair: Any) -> None:
    from consort.cooperate.speculate import custom_generate

    target, draft, inputs = pair
    theirs, ours = Heard(), Heard()
    settings = {"max_new_tokens": 8, "do_sample": False}
    target.generate(**inputs, **settings, streamer=theirs)
    target.generate(**inputs, **settings, streamer=ours, custom_generate=custom_generate(draft))
    assert ours.got == theirs.got and ours.is_over


@pytest.mark.parametrize(
    "name",
    ["guidance_scale", "inputs_embeds", "output_scores", "output_hidden_states", "assistant_model", "position_ids",
     "negative_prompt_ids"],
)  # fmt: skip
def test_E16_what_is_not_done_is_refused_by_name(pair: Any, name: str) -> None:
    from consort.cooperate.speculate import custom_generate

    target, draft, inputs = pair
    ids = inputs.input_ids
    asked: dict[str, Any] = {
        "guidance_scale": {"guidance_scale": 2.0},
        "inputs_embeds": {"inputs_embeds": target.get_input_embeddings()(ids), "input_ids": None},
        "output_scores": {"output_scores": True, "return_dict_in_generate": True},
        "output_hidden_states": {"output_hidden_states": True, "return_dict_in_generate": True},
        "assistant_model": {"assistant_model": draft},
        "position_ids": {"position_ids": torch.arange(ids.shape[1])[None] + 3},
        "negative_prompt_ids": {"negative_prompt_ids": ids},
    }[name]
    given = {key: value for key, value in {**inputs, **asked}.items() if value is not None}
    with pytest.raises(Unsupported, match=name):
        target.generate(**given, max_new_tokens=2, do_sample=False, custom_generate=custom_generate(draft))


def test_E18_the_page_has_the_formula_of_the_code() -> None:
    from pathlib import Path

    from consort.cooperate.transfer.contrastive import Contrastive
    from consort.models.fake import FakeTokenModel

    expert, amateur = torch.tensor([1.0, 0.5, 0.2]), torch.tensor([0.3, 0.9, 0.1])
    ours = expert.log_softmax(-1) - (amateur / 0.5).log_softmax(-1)
    weighed = expert.log_softmax(-1) - 2 * amateur.log_softmax(-1)
    torch.testing.assert_close(ours - ours[0], weighed - weighed[0])
    model = Contrastive(
        FakeTokenModel.bigram(torch.zeros(14, 14).tolist()), FakeTokenModel.bigram(torch.eye(14).tolist())
    )
    assert [(t.weight, t.temperature) for t in model.terms] == [(1.0, 1.0), (-1.0, 0.5)]
    page = (Path(__file__).parents[2] / "docs" / "transfer.md").read_text()
    assert "log softmax(expert) - strength log softmax(amateur / amateur_temperature)" in page


@pytest.mark.parametrize("asked", ["generate", "stream", "score"])
@pytest.mark.parametrize("name", ["headers", "body", "comments", "nothing"])
def test_E9_a_deadline_holds_for_headers_bodies_and_streams(name: str, asked: str) -> None:
    from tests.models.remote import misbehaving as m

    plays = {
        "headers": m.headers_that_drip,
        "body": m.body_that_drips,
        "comments": m.keeps_alive(),
        "nothing": m.hang,
        "good": m.good,
    }
    with m.misbehaving(plays) as server:
        first = RemoteModel("good", server.url)
        first.generate(["x"])  # what is imported and begun once is not measured
        first.transport.close()
        model = RemoteModel(name, server.url, timeout_s=0.4)
        begun = time.perf_counter()
        with pytest.raises(EnvironmentFailure, match=r"has not answered within 0\.4 s"):
            if asked == "generate":
                model.generate(["x"])
            elif asked == "stream":
                collected(model.stream("x"))
            else:
                model.score([("a", " b")])
        assert time.perf_counter() - begun < 0.4 + 1
        model.transport.close()
