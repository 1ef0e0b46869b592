"""Members of strategies that work on answers, as the server asks them.

Local ones are decoded in the batch of all requests; one that is late, broken or resting is dropped for this request
and named; tool calls are written in one form, so that a vote over answers is a vote over calls. What a member has to
know of the request it finds in its sampling (`request.Asked`).
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.types import Completion, Prompt, Sampling
from consort.ensemble.calls import streamed
from consort.models.base import Session
from consort.models.token_model import TokenModel
from consort.server.cooldown import Cooldown
from consort.server.errors import LATE
from consort.server.request import Asked, Context
from consort.server.scheduler.scheduler import Scheduler
from consort.server.tools import calls_in, canonical

T = TypeVar("T")
SHARE = 0.8
"""Of the time that a strategy has, what a member may take: the rest is for the strategy to go on without it."""
OutcomeListener = Callable[[str, str, str], None]
"""Told of each call: strategy, member, outcome."""


class Members:
    """Makes members; one for each model, however many strategies have it."""

    def __init__(self, scheduler: Scheduler, *, patience: int = 3, cooldown_s: float = 30.0) -> None:
        self.scheduler, self.patience, self.cooldown_s = scheduler, patience, cooldown_s
        self.heard: OutcomeListener = lambda strategy, member, outcome: None
        self._made: dict[int, tuple[Any, Any]] = {}

    def strategy(self, model: Any) -> Any:
        """A strategy over answers with its members replaced; a model without members as it is."""
        members = tuple(getattr(model, "members", ()))
        if not members:
            return model
        made = copy.copy(model)
        by_id = {id(member): member for member in members}
        for name, value in vars(model).items():
            if id(value) in by_id:
                setattr(made, name, self.member(value))
            elif isinstance(value, list | tuple) and any(id(part) in by_id for part in value):
                parts = (self.member(part) if id(part) in by_id else part for part in value)
                setattr(made, name, type(value)(parts))
        return made

    def member(self, model: Any) -> Any:
        if isinstance(model, Member | TokenMember):
            return model
        if id(model) not in self._made:
            resting = Cooldown(self.patience, self.cooldown_s)
            token = isinstance(model, TokenModel)
            made = TokenMember(self, model, resting) if token else Member(self, self.strategy(model), resting)
            self._made[id(model)] = (model, made)
        return self._made[id(model)][1]


def runs_plainly(model: Any) -> bool:
    """Whether a model's answers are plain decoding of its sessions: then they may be made in the common batch."""
    kind = type(model)
    plain = isinstance(model, TokenModel) and kind.generate is TokenModel.generate
    return plain and kind.stream is TokenModel.stream


class Member:
    """A member that has no logits: an endpoint, cached answers, another strategy."""

    def __init__(self, owner: Members, model: Any, resting: Cooldown) -> None:
        self.owner, self.model, self.resting, self.name = owner, model, resting, model.name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["model"], name)

    @property
    def members(self) -> Sequence[Any]:
        return getattr(self.model, "members", ()) or (self.model,)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        return _asked(self.owner, self, sampling, lambda own: self.model.generate(prompts, own))

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> Generator[str, None, Completion]:
        """Pieces as they come; whether the member may be asked, and what became of it, as for whole answers."""
        if not isinstance(sampling, Asked):
            return (yield from streamed(self.model, prompt, sampling, cancel))
        if not hasattr(self.model, "stream"):
            (answer,) = self.generate([prompt], sampling)
            if answer.text:
                yield answer.text
            return answer
        own, over = _bounded(sampling)
        return (yield from _followed(self.owner, self, own, streamed(self.model, prompt, own, over)))


class TokenMember(TokenModel):
    """A member that is open to its logits; its answers are made in the common batch."""

    def __init__(self, owner: Members, model: TokenModel, resting: Cooldown) -> None:
        self.owner, self.model, self.resting = owner, model, resting
        self.name, self.tokenizer, self.window = model.name, model.tokenizer, model.window
        self.batch_tokens, self.gives_logprob = model.batch_tokens, model.gives_logprob

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["model"], name)

    @property
    def members(self) -> Sequence[Any]:
        return self.model.members or (self.model,)

    @property
    def ends(self) -> frozenset[int]:
        return self.model.ends

    def open(self, batch: int = 1) -> Session:
        return self.model.open(batch)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        return self.owner.scheduler.call(lambda: self.model.score(pairs)).result()

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> list[Completion]:
        def work(own: Sampling) -> list[Completion]:
            if not runs_plainly(self.model):
                return self.model.generate(prompts, own)
            gone = own.is_over if isinstance(own, Asked) else bool
            return self.owner.scheduler.generate(self.model, prompts, own, cancelled=gone)

        return _asked(self.owner, self, sampling, work)

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Any = None
    ) -> Generator[str, None, Completion]:
        """Pieces as they come, from the common batch."""
        if not isinstance(sampling, Asked) or not runs_plainly(self.model):
            return (yield from streamed(self.model, prompt, sampling, cancel))
        own, over = _bounded(sampling)
        pieces = self.owner.scheduler.stream(self.model, prompt, own, cancelled=over)
        return (yield from _followed(self.owner, self, own, pieces))


def _bounded(sampling: Asked) -> tuple[Asked, Callable[[], bool]]:
    """The sampling of one member's call, which ends before the strategy's own; whether it is over."""
    own = sampling.share(SHARE)
    return own, own.is_over


def _followed(
    owner: Members, member: Any, sampling: Asked, pieces: Generator[str, None, Completion]
) -> Generator[str, None, Completion]:
    """A stream whose end is entered in the request's account; one that is cut off by its time has failed."""
    _enter(member, sampling.context)
    begun = time.time_ns()
    try:
        answer = yield from pieces
        if answer.finish_reason == "cancelled" and not sampling.context.gone.is_set():
            raise late(member.name)
    except (ConsortError, OSError) as error:
        _failed(owner, member, sampling.context, error, begun)
        raise
    _answered(owner, member, sampling.context, begun)
    return answer


def _asked(
    owner: Members, member: Any, sampling: Sampling, work: Callable[[Sampling], list[Completion]]
) -> list[Completion]:
    """The member's answers, or why there are none; entered in the request's account."""
    if not isinstance(sampling, Asked):
        return work(sampling)
    context, own = sampling.context, sampling.share(SHARE)
    _enter(member, context)
    begun = time.time_ns()
    try:
        found = in_time(lambda: work(own), own.left(), member.name)
        if any(one.finish_reason == "cancelled" for one in found) and not context.gone.is_set():
            raise late(member.name)
    except (ConsortError, OSError) as error:
        _failed(owner, member, context, error, begun)
        raise
    _answered(owner, member, context, begun)
    return [with_calls(one, context.tools) for one in found] if context.tools else found


def _enter(member: Any, context: Context) -> None:
    """Enter that a member is asked. Raises EnvironmentFailure where it may not be."""
    with context.lock:
        if member.name not in context.asked:
            context.asked.append(member.name)
        refused = _refused(member, context)
        if refused:
            context.dropped[member.name] = refused[0]
    if refused:
        member.owner.heard(context.strategy, member.name, refused[0])
        context.trace.member(member.name, time.time_ns(), refused[0])
        raise EnvironmentFailure(refused[1], field=member.name)


def _answered(owner: Members, member: Any, context: Context, begun: int) -> None:
    member.resting.note(True)
    owner.heard(context.strategy, member.name, "ok")
    context.trace.member(member.name, begun, "ok")


def _failed(owner: Members, member: Any, context: Context, error: Exception, begun: int) -> None:
    """Enter why a member gave no answer; what the machine or the network did to it counts towards its rest."""
    reason = reason_of(error)
    with context.lock:
        context.dropped[member.name], context.failed[member.name] = reason, error
    owner.heard(context.strategy, member.name, reason)
    context.trace.member(member.name, begun, reason)
    if reason != "error" or isinstance(error, EnvironmentFailure | OSError):
        member.resting.note(False)


def _refused(member: Any, context: Context) -> tuple[str, str] | None:
    left = member.resting.left()
    if left > 0:
        return "cooldown", f"has failed again and again and is left alone for {left:.0f} s"
    if context.max_members is not None and len(context.asked) > context.max_members:
        return "limit", f"only {context.max_members} members may be asked for one request"
    return None


def reason_of(error: Exception) -> str:
    """Why a member was dropped, in one word."""
    said = str(error)
    if "not numbers" in said or "whose logits are numbers" in said:
        return "nonfinite"
    if isinstance(error, TimeoutError) or any(words in said for words in LATE):
        return "timeout"
    return "error"


def late(name: str) -> EnvironmentFailure:
    return EnvironmentFailure("did not answer before the deadline", field=name)


def in_time(work: Callable[[], T], seconds: float, name: str) -> T:
    """What `work` returns within `seconds`; later it goes on by itself and nobody waits for it."""
    if seconds == float("inf"):
        return work()
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # told below, in the thread that waits
            failed.append(error)

    thread = threading.Thread(target=run, name=f"consort-member-{name}", daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if failed:
        raise failed[0]
    if not found:
        raise late(name)
    return found[0]


def with_calls(completion: Completion, tools: Sequence[Mapping[str, Any]]) -> Completion:
    """The answer with its tool calls, from the text or as the endpoint told them, in one form."""
    names = {tool["function"]["name"] for tool in tools}
    told = completion.details.get("tool_calls", ())
    calls = [(call["function"]["name"], call["function"]["arguments"] or "{}") for call in told if "function" in call]
    said = completion.text
    if not calls:
        said, calls = calls_in(completion.text, names)
    try:
        return replace(completion, text=canonical(said, calls)) if calls else completion
    except ValueError:
        return completion
