"""Traces: a span of the request and of each member, in the caller's trace; nothing where nobody asked for them."""

from __future__ import annotations

import httpx
import pytest

import consort as c
from consort.core.errors import EnvironmentFailure
from consort.models.fake import FakeModel
from consort.server.operations.traces import ENDPOINTS, Trace, Traces, traces_of_environment
from consort.server.run import Server
from tests.server.conftest import chat


def team():
    def broken(text):
        raise EnvironmentFailure("is down", field="broken")

    return c.vote([FakeModel(lambda text: "yes", name="good"), FakeModel(broken, name="broken")])


def test_without_a_collector_nothing_is_traced(monkeypatch):
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    traces = traces_of_environment()
    assert traces.provider is None and type(traces.begin("GET", "/", {})) is Trace


def test_a_collector_without_the_package_is_told(monkeypatch, caplog):
    monkeypatch.setenv(ENDPOINTS[0], "http://127.0.0.1:9/v1/traces")
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert traces_of_environment().provider is None
    assert "consort[traces]" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_spans_of_a_request_and_its_members(stream):
    pytest.importorskip("opentelemetry.sdk", reason="the extra traces is not installed")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with Server(models={"vote": team()}, port=0) as running:
        running.state.traces = Traces(provider)
        head = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        url = f"{running.url}/v1/chat/completions"
        answer = httpx.post(url, json=chat("a secret", model="vote", stream=stream), headers=head)
        assert answer.status_code == 200
        httpx.post(url, json=chat(model="nobody"))
    spans = {span.name: span for span in kept.get_finished_spans()}
    whole, good, broken = spans["chat vote"], spans["member good"], spans["member broken"]
    assert whole.parent.span_id == int("cd" * 8, 16) and whole.context.trace_id == int("ab" * 16, 16)
    assert good.parent.span_id == broken.parent.span_id == whole.context.span_id
    assert whole.start_time <= good.start_time <= good.end_time <= whole.end_time
    assert whole.attributes["gen_ai.request.model"] == "vote" and whole.attributes["consort.dropped"] == "broken:error"
    assert whole.attributes["gen_ai.usage.output_tokens"] > 0 and not broken.status.is_ok and good.status.is_ok
    assert spans["chat"].attributes["http.response.status_code"] == 404
    assert "secret" not in "".join(span.to_json() for span in spans.values())
