"""Streamed answers: from events to pieces of text, and the completion at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from consort.core.types import Completion, Usage
from consort.models.remote.secret import Veil
from consort.models.remote.wire.answers import check_given, choice_of, completion_of
from consort.models.remote.wire.errors import is_error, reported
from consort.models.remote.wire.events import DONE
from consort.models.remote.wire.values import Answer, Broken, Choice, first_choice, json_of, speaker_of, typed, usage_of


@dataclass(slots=True)
class StreamState:
    """What has come of a stream."""

    veil: Veil = field(default_factory=Veil)
    pieces: list[Choice] = field(default_factory=list)
    finish: str | None = None
    usage: Usage | None = None
    speaker: dict[str, str] = field(default_factory=dict)

    def read(self, data: str) -> str:
        """The text of one event's piece, "" where it has none. Raises Broken, Reported."""
        event = typed(self.veil.over(json_of(data)), dict, "event")
        if is_error(event):
            raise reported(event)
        self.usage, self.speaker = usage_of(event) or self.usage, speaker_of(event) or self.speaker
        choice = first_choice(event)
        if choice is None:
            return ""
        piece = choice_of(choice, is_piece=True)
        check_given(piece)
        self.pieces.append(piece)
        self.finish = piece.finish or self.finish
        return piece.text

    def check_whole(self, done: bool) -> None:
        """Raise Broken where the events ended before the answer did, `done` if they said that they end, or had none."""
        if not done and self.finish is None:
            raise Broken("the stream breaks off")
        if not self.pieces:
            raise Broken("the stream has no choice")

    def completion(self) -> Completion:
        """All pieces as one answer. Log-probabilities are known where every piece with a text tells them."""
        told = [p for p in self.pieces if p.text or p.logprobs]
        is_told = all(p.logprobs for p in told)
        choice = Choice(
            self.veil.over("".join(p.text for p in self.pieces)),
            self.finish,
            tuple(v for p in told for v in p.logprobs) if is_told else (),
            tuple(t for p in told for t in p.tokens) if is_told else (),
            refusal=self.veil.over("".join(p.refusal for p in self.pieces)),
            reasoning=self.veil.over("".join(p.reasoning for p in self.pieces)),
            calls=_calls([call for p in self.pieces for call in p.calls]),
        )
        return completion_of(Answer(choice, self.usage or Usage(calls=1), self.usage is not None))


def stream_of(events: Iterator[str], heard: StreamState, gone: Callable[[], bool]) -> Generator[str, None, Completion]:
    """Pieces of text from the data of events; the completion at the end. Raises Broken if the stream breaks off."""
    done = False
    for data in events:
        if gone():
            return replace(heard.completion(), finish_reason="cancelled")
        if data.strip() == DONE:
            done = True
            break
        text = heard.veil.put(heard.read(data))
        if text:
            yield text
    if gone():
        return replace(heard.completion(), finish_reason="cancelled")
    heard.check_whole(done)
    if rest := heard.veil.rest():
        yield rest
    return heard.completion()


def _calls(pieces: list[Any]) -> tuple[dict[str, Any], ...]:
    """Tool calls put together from their pieces, by index: the arguments are joined, all else is of the first piece."""
    whole: dict[Any, dict[str, Any]] = {}
    for piece in pieces:
        call = whole.setdefault(repr(piece.get("index", len(whole))), {"function": {"name": "", "arguments": ""}})
        call.update({key: value for key, value in piece.items() if key in ("id", "type") and value})
        function = piece.get("function") if isinstance(piece.get("function"), dict) else {}
        for key in ("name", "arguments"):
            call["function"][key] += function.get(key) if isinstance(function.get(key), str) else ""
    return tuple(whole.values())
