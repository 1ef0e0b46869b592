"""OpenTelemetry traces: a span of each request and, inside it, one of each member that was asked; never a prompt.

On where the operator names a collector in the environment, by OpenTelemetry's own variables
(`OTEL_EXPORTER_OTLP_ENDPOINT`), and `consort[traces]` is installed. Names of attributes are those of the conventions
for HTTP and for generative models; a `traceparent` header is gone on from.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consort.server.operations.records import Record

log = logging.getLogger(__name__)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Trace:
    """The span of one request; this one, of which nobody is told, does nothing."""

    def member(self, name: str, begun_ns: int, outcome: str) -> None:
        """A member has answered, or has not."""

    def end(self, route: str, record: Record) -> None:
        """The request is over."""


class Traces:
    """Makes the traces of requests; `provider` is where spans go (None: nowhere)."""

    def __init__(self, provider: Any = None) -> None:
        self.provider = provider
        self._tracer = None if provider is None else provider.get_tracer("consort.server")

    def begin(self, method: str, path: str, headers: Mapping[str, str]) -> Trace:
        if self._tracer is None:
            return _NONE
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(f"{method} {path[:100]}", context=extract(dict(headers)), kind=SpanKind.SERVER)
        return _Told(self._tracer, span)

    def close(self) -> None:
        """Send what has not been sent."""
        if self.provider is not None and hasattr(self.provider, "shutdown"):
            self.provider.shutdown()


class _Told(Trace):
    def __init__(self, tracer: Any, span: Any) -> None:
        self.tracer, self.span = tracer, span

    def member(self, name: str, begun_ns: int, outcome: str) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        inner = self.tracer.start_span(f"member {name}", context=set_span_in_context(self.span), start_time=begun_ns)
        inner.set_attributes({"consort.member": name, "consort.outcome": outcome})
        if outcome != "ok":
            inner.set_status(Status(StatusCode.ERROR, outcome))
        inner.end(max(begun_ns, time.time_ns()))

    def end(self, route: str, record: Record) -> None:
        from opentelemetry.trace import Status, StatusCode

        told = {
            "http.request.method": record.method,
            "http.route": route,
            "http.response.status_code": record.status,
            "consort.request_id": record.id,
            "gen_ai.request.model": record.model,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.completion_tokens,
            "consort.chosen": record.chosen,
            "consort.dropped": record.dropped,
            "error.type": record.error,
        }
        self.span.update_name(f"{route} {record.model}".strip())
        self.span.set_attributes({name: value for name, value in told.items() if value not in ("", 0)})
        if record.status >= 500 or record.error:
            self.span.set_status(Status(StatusCode.ERROR, record.error))
        self.span.end()


_NONE = Trace()


def traces_of_environment() -> Traces:
    """Traces to the collector that the environment names; a note where one is named but nothing can be sent."""
    named = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if named is None:
        return Traces()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning('%s is set, but there are no traces without: pip install "consort[traces]"', named)
        return Traces()
    provider = TracerProvider(resource=Resource.create({"service.name": "consort"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)
