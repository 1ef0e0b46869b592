"""Keys: who may ask for which models, how often and how much; what was spent is kept over restarts (SQLite, WAL)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consort.core.errors import BadData, BadParameter
from consort.server.errors import ApiError

if TYPE_CHECKING:
    from consort.server.request import Answer

NAMES = ("models", "requests_per_minute", "tokens_per_minute", "tokens", "money", "prices", "key_env", "key_sha256")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one key may do; None is no bound. `prices`: money for a million tokens read and written, by model."""

    name: str
    digest: bytes
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens: int | None = None
    money: float | None = None
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Keys:
    """All keys of a server, by the hash of each. `store`: the file that remembers what was spent (none: in memory)."""

    def __init__(
        self, allowances: Sequence[Allowance], store: Path | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.allowances, self.clock = tuple(allowances), clock
        self._lock = threading.Lock()
        self._by_name = {one.name: one for one in allowances}
        self._minute: dict[str, list[float]] = {}
        self._database = _opened(store)

    @staticmethod
    def single(key: str) -> Keys:
        """One key that may do everything."""
        return Keys([Allowance("default", digest_of(key))])

    def check(self, headers: Mapping[str, str], *, browser: bool = False) -> str:
        """The name of the key that a request brings. Raises ApiError 401; a browser is told how to ask for it."""
        given = key_in(headers)
        found = ""
        if given is not None:
            digest = digest_of(given)
            for one in self.allowances:  # all are compared, so that time tells nothing
                if hmac.compare_digest(one.digest, digest):
                    found = one.name
        if found:
            return found
        heads = {"www-authenticate": 'Basic realm="consort: any user, the key as password"' if browser else "Bearer"}
        what = "no API key was given" if given is None else "the API key is not right"
        raise ApiError(401, what, code="invalid_api_key", headers=heads)

    def grant(self, name: str | None) -> Grant:
        return Grant(self, self._by_name[name or "default"])

    def spent(self, name: str) -> tuple[int, float]:
        """Tokens and money that a key has spent so far."""
        with self._lock:
            row = self._database.execute("select tokens, money from spent where name = ?", (name,)).fetchone()
        return (int(row[0]), float(row[1])) if row else (0, 0.0)

    def add(self, name: str, tokens: int, money: float) -> None:
        with self._lock:
            self._database.execute(
                "insert into spent values (?, ?, ?) on conflict (name) do update"
                " set tokens = tokens + excluded.tokens, money = money + excluded.money",
                (name, tokens, money),
            )
            self._database.commit()
            self._window(f"{name} tokens").append(tokens)

    def used(self, name: str, kind: str) -> float:
        """How much of a kind a key has used in this minute."""
        with self._lock:
            return sum(self._window(f"{name} {kind}")[1:])

    def count(self, name: str) -> None:
        with self._lock:
            self._window(f"{name} requests").append(1)

    def left(self) -> int:
        """Seconds until the next minute."""
        return max(1, 60 - int(self.clock()) % 60)

    def _window(self, key: str) -> list[float]:
        """What was used since the minute began; its first number is the minute."""
        minute = float(int(self.clock()) // 60)
        kept = self._minute.get(key)
        if kept is None or kept[0] != minute:
            kept = self._minute[key] = [minute]
        return kept

    def close(self) -> None:
        with self._lock:
            self._database.close()


@dataclass(frozen=True, slots=True)
class Grant:
    """What the key of a request may still do. Methods raise ApiError where it may not."""

    keys: Keys
    allowance: Allowance

    def may(self, model: str) -> bool:
        return self.allowance.models is None or model in self.allowance.models

    def check_model(self, model: str) -> None:
        if not self.may(model):
            raise ApiError(404, f"no model {model!r} for this key", param="model", code="model_not_found")

    def take_request(self) -> None:
        """Count a request. Raises ApiError 429 beyond a rate or a budget."""
        one, keys = self.allowance, self.keys
        retry = {"retry-after": str(keys.left())}
        if one.requests_per_minute is not None and keys.used(one.name, "requests") >= one.requests_per_minute:
            raise ApiError(429, "too many requests in this minute", code="rate_limit_exceeded", headers=retry)
        if one.tokens_per_minute is not None and keys.used(one.name, "tokens") >= one.tokens_per_minute:
            raise ApiError(429, "too many tokens in this minute", code="rate_limit_exceeded", headers=retry)
        if one.tokens is not None or one.money is not None:
            tokens, money = keys.spent(one.name)
            over = one.tokens is not None and tokens >= one.tokens
            if over or (one.money is not None and money >= one.money):
                what = "the key's budget is spent"
                raise ApiError(429, what, code="insufficient_quota", headers={"x-should-retry": "false"})
        keys.count(one.name)

    def spend(self, model: str, answers: Sequence[Answer]) -> None:
        """Enter what the answers took, by the work of all inner models."""
        tokens, money = 0, 0.0
        for answer in answers:
            cost = answer.completion.cost or {model: answer.completion.usage}
            for name, usage in cost.items():
                tokens += usage.total_tokens
                read, written = self.allowance.prices.get(name, (0.0, 0.0))
                money += (usage.prompt_tokens * read + usage.completion_tokens * written) / 1e6
        if tokens or money:
            self.keys.add(self.allowance.name, tokens, money)


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def key_in(headers: Mapping[str, str]) -> str | None:
    """The key that headers bring: `Authorization` (Bearer, or Basic with the key as password), or `x-api-key`."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value:
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return headers.get("x-api-key") or headers.get("api-key")


def _opened(store: Path | None) -> sqlite3.Connection:
    try:
        if store is not None and not store.exists():
            os.close(os.open(store, os.O_CREAT | os.O_WRONLY, 0o600))
        found = sqlite3.connect(":memory:" if store is None else store, check_same_thread=False, timeout=10)
        found.execute("pragma journal_mode = wal")
        found.execute("create table if not exists spent (name text primary key, tokens integer, money real)")
        found.commit()
    except (sqlite3.Error, OSError) as error:
        raise BadData(f"cannot be used: {error}", field=str(store), hint="another file for what keys spend") from None
    return found


def load_keys(path: Path, store: Path | None) -> Keys:
    """Keys from a YAML file: `NAME: {key_env: VARIABLE, models: [...], requests_per_minute: 60, tokens: 1000000, …}`.

    A key itself stands in the environment (`key_env`), or as its SHA-256 (`key_sha256`). Raises BadData naming the key.
    """
    from consort.core.errors import did_you_mean
    from consort.data.yaml import load_documents

    documents = load_documents(path)
    given = documents[0] if len(documents) == 1 else None
    if not isinstance(given, Mapping) or not given:
        raise BadData("is no mapping of names to what a key may do", field=str(path))
    found = []
    for name, settings in given.items():
        where = f"{path}: {name}"
        if not isinstance(settings, Mapping):
            raise BadData("is no mapping", field=where)
        for option in settings:
            if option not in NAMES:
                raise BadData(f"has no option {option!r}", field=where, hint=did_you_mean(str(option), NAMES))
        found.append(_allowance(str(name), settings, where))
    return Keys(found, store)


def _allowance(name: str, settings: Mapping[str, Any], where: str) -> Allowance:
    models = settings.get("models")
    if models is not None and not (isinstance(models, list) and all(isinstance(m, str) for m in models)):
        raise BadData("models is no list of ids", field=where)
    numbers = {}
    for option in ("requests_per_minute", "tokens_per_minute", "tokens", "money"):
        value = settings.get(option)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise BadData(f"{option} is no number of at least 0", field=where)
        numbers[option] = value
    prices = {}
    for model, price in dict(settings.get("prices") or {}).items():
        pair = price if isinstance(price, list) else [price, price]
        if len(pair) != 2 or not all(isinstance(p, int | float) and p >= 0 for p in pair):
            raise BadData(f"the price of {model} is no number, nor [read, written]", field=where)
        prices[str(model)] = (float(pair[0]), float(pair[1]))
    limits: Any = numbers
    return Allowance(name, _digest(settings, where), None if models is None else tuple(models), **limits, prices=prices)


def _digest(settings: Mapping[str, Any], where: str) -> bytes:
    variable, told = settings.get("key_env"), settings.get("key_sha256")
    if (variable is None) == (told is None):
        raise BadData("has neither or both of key_env and key_sha256", field=where, hint="key_env: VARIABLE")
    if told is not None:
        try:
            digest = bytes.fromhex(str(told))
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise BadData("key_sha256 is no SHA-256 in hexadecimal", field=where)
        return digest
    return digest_of(key_from(str(variable)))


def key_from(variable: str) -> str:
    """The key in an environment variable. Raises BadParameter where there is none."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise BadParameter("is not set", field=variable, hint=f"put the key into the environment: export {variable}=…")
    return key
