"""Prometheus metrics. Labels come from configured names only, so that no request can add one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consort.server.operations.records import Record
    from consort.server.request import Answer, Context
    from consort.server.table import Served

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
MEMBER_OUTCOMES = ("ok", "error", "timeout", "nonfinite", "cooldown", "limit")


class Metrics:
    """The metrics of one server, in a registry of their own; nothing where prometheus-client is not installed."""

    def __init__(self) -> None:
        try:
            import prometheus_client as p
        except ImportError:
            self.registry: Any = None
            return
        self._made: dict[tuple[int, tuple[str, ...]], Any] = {}
        self.registry = p.CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = p.Counter("consort_requests", "Requests.", ["route", "model", "status"], **own)
        self.seconds = p.Histogram("consort_request_seconds", "Whole requests.", ["route"], buckets=_SECONDS, **own)
        self.overhead = p.Histogram(
            "consort_overhead_seconds", "Time not spent waiting for models.", ["route"], buckets=_SECONDS, **own
        )
        self.first = p.Histogram(
            "consort_time_to_first_token_seconds", "Until the first piece.", ["model"], buckets=_SECONDS, **own
        )
        self.tokens = p.Counter("consort_tokens", "Tokens of answers.", ["model", "kind"], **own)
        self.calls = p.Counter("consort_member_calls", "Calls of members.", ["strategy", "member", "outcome"], **own)
        self.chosen = p.Counter("consort_chosen", "Members whose answer was taken.", ["strategy", "member"], **own)
        self.drafted = p.Counter("consort_speculative_drafted", "Drafted tokens.", ["position"], **own)
        self.accepted = p.Counter("consort_speculative_accepted", "Drafted tokens that stood.", ["position"], **own)
        self.queue = p.Gauge("consort_queue_depth", "Rows that are decoded or wait.", **own)
        self.flight = p.Gauge("consort_in_flight", "Requests under way.", **own)

    def _of(self, metric: Any, *labels: str) -> Any:
        """A metric's child, found by a dictionary: `labels` of the library takes a lock."""
        key = (id(metric), labels)
        child = self._made.get(key)
        if child is None:
            child = self._made[key] = metric.labels(*labels)
        return child

    def text(self, depth: int, in_flight: int) -> bytes:
        """All metrics as Prometheus reads them."""
        if self.registry is None:
            return b""
        from prometheus_client import generate_latest

        self.queue.set(depth)
        self.flight.set(in_flight)
        found: bytes = generate_latest(self.registry)
        return found

    def request(self, route: str, record: Record, seconds: float) -> None:
        if self.registry is None:
            return
        self._of(self.requests, route, record.model, str(record.status)).inc()
        self._of(self.seconds, route).observe(seconds)
        if record.overhead_s is not None:
            self._of(self.overhead, route).observe(record.overhead_s)

    def answered(self, served: Served, context: Context, answers: Sequence[Answer]) -> None:
        if self.registry is None:
            return
        if context.first_s is not None:
            self._of(self.first, served.id).observe(context.first_s)
        read = sum(answer.completion.usage.prompt_tokens for answer in answers)
        written = sum(answer.completion.usage.completion_tokens for answer in answers)
        self._of(self.tokens, served.id, "prompt").inc(read)
        self._of(self.tokens, served.id, "completion").inc(written)
        for answer in answers:
            details = answer.completion.details
            chosen = details.get("chosen", details.get("answered_by"))
            if isinstance(chosen, str) and chosen:
                self._of(self.chosen, served.id, chosen).inc()
            told = details.get("speculation")
            if isinstance(told, dict):
                for metric, name in ((self.drafted, "proposed_at"), (self.accepted, "accepted_at")):
                    for position, count in enumerate(told.get(name, ())):
                        self._of(metric, str(position + 1)).inc(count)

    def member(self, strategy: str, member: str, outcome: str) -> None:
        if self.registry is not None:
            self._of(self.calls, strategy, member, outcome).inc()
