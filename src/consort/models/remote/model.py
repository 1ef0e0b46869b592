"""Any OpenAI-compatible endpoint as a language model: `openai:NAME@BASE_URL`.

The key comes from the environment only, and is neither stored nor shown. Redirects are not followed. A request is tried
again here and nowhere else.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from consort.core.errors import BadParameter, Unsupported
from consort.core.prompts import check_list
from consort.core.types import Completion, Prompt, Sampling
from consort.models.remote.wire import completion_of, echoed_logprob, payload, stream_of

if TYPE_CHECKING:
    from consort.models.remote.transport import Transport

PREFIX = "openai:"


class RemoteModel:
    """A model behind an OpenAI-compatible endpoint; prompts are sent side by side, `concurrency` at a time.

    A chat goes to /chat/completions, a string to /completions, or as a user's turn where the endpoint has no such path.
    Log-probabilities are asked for and used where they are offered; token ids are not known. `timeout_s` bounds a
    request with its retries, of which there are at most `retries`: after 408, 409, 429 and 5xx (as `Retry-After` says,
    else after 0.5, 1, 2 … seconds), unreadable answers and lost connections. After `patience` failures in a row the
    endpoint is left alone for `cooldown_s`. The key is in the environment variable `key_variable` (by default
    OPENAI_API_KEY for api.openai.com, else CONSORT_API_KEY); without it none is sent.

    Raises EnvironmentFailure where the endpoint does not answer in time or not rightly; UnknownName for a model that it
    does not have, BadParameter for what it refuses.
    """

    source: str
    tokenizer_choice = None

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        key_variable: str | None = None,
        timeout_s: float = 120.0,
        retries: int = 2,
        concurrency: int = 8,
        patience: int = 5,
        cooldown_s: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        host = check_url(base_url)
        if not name:
            raise BadParameter("names no model", field=f"{PREFIX}@{base_url}", hint=f"{PREFIX}NAME@BASE_URL")
        self.model, self.base_url, self.source = name, base_url.rstrip("/"), f"{PREFIX}{name}@{base_url}"
        self.name = name
        self.key_variable = key_variable or ("OPENAI_API_KEY" if host == "api.openai.com" else "CONSORT_API_KEY")
        self.timeout_s, self.retries, self.concurrency = timeout_s, retries, concurrency
        self.patience, self.cooldown_s, self.sleep = patience, cooldown_s, sleep
        self.gives_logprob, self.speaks_completions = True, True

    @cached_property
    def transport(self) -> Transport:
        from consort.models.remote.transport import Transport

        return Transport(
            self.base_url,
            key_variable=self.key_variable,
            timeout_s=self.timeout_s,
            retries=self.retries,
            concurrency=self.concurrency,
            patience=self.patience,
            cooldown_s=self.cooldown_s,
            sleep=self.sleep,
        )

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """One completion for each prompt, in order. The first failure is raised; what is under way is let finish."""
        from consort.models.decoding.sampling import check

        check_list(prompts)
        check(sampling, len(prompts))
        with ThreadPoolExecutor(max_workers=max(1, min(self.concurrency, len(prompts)))) as pool:
            return list(pool.map(lambda item: self._answer(item[1], sampling, item[0]), enumerate(prompts)))

    def _answer(self, prompt: Prompt, sampling: Sampling, number: int) -> Completion:
        begun = time.perf_counter()
        found = self._posted(prompt, sampling, number, lambda answer: completion_of(answer, self.name))
        self.gives_logprob = self.gives_logprob and found.logprob is not None
        return _timed(found, self.name, time.perf_counter() - begun)

    def _posted(self, prompt: Prompt, sampling: Sampling, number: int, read: Callable[[Any], Any]) -> Any:
        body = payload(self.model, prompt, sampling, number, logprobs=self.gives_logprob)
        if isinstance(prompt, str) and self.speaks_completions:
            found = self.transport.post("/completions", body, read, absent=None)
            if found is not None:
                return found
            self.speaks_completions = False
        return self.transport.post("/chat/completions", _as_chat(body), read)

    def stream(
        self, prompt: Prompt, sampling: Sampling = Sampling(), *, cancel: Event | Callable[[], bool] | None = None
    ) -> Generator[str, None, Completion]:
        """Pieces of the answer as they come; returns the completion. Nothing is tried again after the first piece."""
        from consort.models.decoding.sampling import check

        check(sampling, 1)
        begun = time.perf_counter()
        gone = cancel.is_set if isinstance(cancel, Event) else cancel or bool
        path = "/completions" if isinstance(prompt, str) and self.speaks_completions else "/chat/completions"
        body = payload(self.model, prompt, sampling, 0, logprobs=self.gives_logprob, stream=True)
        with self.transport.stream(path, body if path == "/completions" else _as_chat(body)) as lines:
            found = yield from stream_of(lines, self.name, gone)
        return _timed(found, self.name, time.perf_counter() - begun)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Log-likelihood (nats) of each continuation after its context, where the endpoint echoes log-probabilities.

        The continuation is what follows the context's characters. Raises Unsupported where there are none.
        """

        def one(pair: tuple[str, str]) -> float:
            context, continuation = pair
            body = {"model": self.model, "prompt": context + continuation, "max_tokens": 1, "temperature": 0}
            body |= {"logprobs": 1, "echo": True}

            def read(answer: Any) -> float | None:
                return echoed_logprob(answer, len(context), len(context + continuation))

            found: float | None = self.transport.post(
                "/completions", body, lambda answer: (read(answer),), absent=(None,)
            )[0]
            if found is None:
                hint = "an endpoint with echo and logprobs, or a local model"
                raise Unsupported("does not tell log-probabilities of given text", field=self.name, hint=hint)
            return found

        with ThreadPoolExecutor(max_workers=max(1, min(self.concurrency, len(pairs)))) as pool:
            return list(pool.map(one, pairs))


def remote_model(reference: str, **options: Any) -> RemoteModel:
    """The model that `openai:NAME@BASE_URL` names. Raises BadParameter for anything else."""
    name, at, base_url = reference.removeprefix(PREFIX).rpartition("@")
    if not reference.startswith(PREFIX) or not at:
        raise BadParameter("names no endpoint", field=reference, hint=f"{PREFIX}NAME@http://HOST:PORT/v1")
    return RemoteModel(name, base_url, **options)


def check_url(url: str) -> str:
    """The host of a base URL; BadParameter for one that is not plain http(s), carries secrets or is link-local."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadParameter(f"{url!r} is no base URL", field="base_url", hint="https://HOST/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        hint = "the key belongs into the environment"
        raise BadParameter("a base URL has no user, password, query or fragment", field="base_url", hint=hint)
    try:
        address = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return parts.hostname
    if address.is_link_local or address.is_unspecified or address.is_multicast:
        raise BadParameter(f"{parts.hostname} is no host to ask", field="base_url", hint="https://HOST/v1")
    return parts.hostname


def _as_chat(body: dict[str, Any]) -> dict[str, Any]:
    """The request to /completions as one to /chat/completions, its prompt as a user's turn."""
    if "messages" in body:
        return body
    kept = {key: value for key, value in body.items() if key not in ("prompt", "logprobs")}
    asked = {"logprobs": True} if "logprobs" in body else {}
    return {**kept, **asked, "messages": [{"role": "user", "content": body["prompt"]}]}


def _timed(completion: Completion, name: str, seconds: float) -> Completion:
    from dataclasses import replace

    usage = replace(completion.usage, seconds=seconds)
    return replace(completion, usage=usage, cost={name: usage})
