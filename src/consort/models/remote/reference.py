"""References to endpoints: `openai:NAME@BASE_URL?timeout_s=60&retries=4`, or in a plan

    {openai: NAME, url: BASE_URL, timeout_s: 60, retries: 4, concurrency: 2, api_key_env: MY_KEY}

One model at several addresses is `openai:NAME@BASE_URL,BASE_URL,…`, or `url: [BASE_URL, BASE_URL]`; then `api_key_env`
may name one variable for each. Options are those of remote/options.py. Neither httpx nor torch is imported here.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from consort.core.counted import counted
from consort.core.errors import BadParameter, BadPlan, ConsortError
from consort.models.remote.options import PARAMS, PLAIN, checked

PREFIX = "openai:"
KEY = "openai"
"""The key of a mapping that describes an endpoint."""

FORM = f"{PREFIX}NAME@http://HOST:PORT/v1"
_BETWEEN = re.compile(r",(?=https?://)")


def split_reference(reference: str) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """Name, base URLs and options of a reference. Raises BadParameter, and for a URL that is none or is given twice."""
    name, at, address = reference.removeprefix(PREFIX).rpartition("@")
    if not reference.startswith(PREFIX) or not at or not name:
        raise BadParameter("names no endpoint", field=reference, hint=FORM)
    addresses, mark, query = address.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if mark else []
    except ValueError:
        hint = f"{FORM}?timeout_s=60&retries=4"
        raise BadParameter("has options that cannot be read", field=reference, hint=hint) from None
    options = checked(dict(pairs))
    if len(options) < len(pairs):
        raise BadParameter("gives an option twice", field=reference, hint="give each once")
    base_urls = tuple(_BETWEEN.split(addresses))
    check_urls(base_urls, reference)
    keys_of(options.get("api_key_env"), len(base_urls))
    return name, base_urls, options


def check_urls(base_urls: Sequence[str], field: str) -> None:
    """Raise BadParameter for a URL that is none, and for one that is given twice."""
    for base_url in base_urls:
        check_url(base_url)
    plain = [base_url.rstrip("/") for base_url in base_urls]
    twice = next((url for url in plain if plain.count(url) > 1), None)
    if twice:
        raise BadParameter(f"names {twice} twice", field=field, hint="give each address once")


def keys_of(api_key_env: str | None, count: int) -> list[str | None]:
    """The environment variable of each of `count` addresses: one for all, or as many with commas between them."""
    names = api_key_env.split(",") if api_key_env else [None]
    if len(names) not in (1, count):
        what = f"names {len(names)} variables for {counted(count, 'address', 'addresses')}"
        raise BadParameter(what, field="api_key_env", hint="give one for all, or one for each")
    return list(names) if len(names) == count else list(names) * count


def identity_of(reference: str) -> str:
    """The reference of the model, whoever of its replicas answers: its name at its first address, without options."""
    name, base_urls, _ = split_reference(reference)
    return f"{PREFIX}{name}@{base_urls[0]}"


def reference_text(name: str, base_urls: Sequence[str], options: Mapping[str, Any]) -> str:
    """The reference that `split_reference` reads; options that are not the default, in the order of PLAIN."""
    given = {key: options[key] for key in PLAIN if key in options and options[key] != PARAMS[key].default}
    shown = {key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in given.items()}
    return f"{PREFIX}{name}@{','.join(base_urls)}" + (f"?{urlencode(shown, quote_via=quote)}" if shown else "")


def is_described(value: Any) -> bool:
    """Whether a plan's value is a mapping that describes an endpoint."""
    return isinstance(value, Mapping) and KEY in value


def described(value: Mapping[str, Any], path: str) -> str:
    """The reference that a mapping `{openai: NAME, url: …}` stands for. Raises BadPlan, BadParameter."""
    name, url = value.get(KEY), value.get("url")
    urls: list[Any] = url if isinstance(url, list) and url else [url]
    for key, texts in ((KEY, [name]), ("url", urls)):
        if not all(isinstance(text, str) and text for text in texts):
            raise BadPlan("is not a string", field=f"{path}.{key}", hint="write {openai: NAME, url: https://HOST/v1}")
    if any("?" in text for text in urls):
        raise BadPlan("a base URL has no query", field=f"{path}.url", hint="write options as keys beside it")
    given = {str(key): v for key, v in value.items() if key not in (KEY, "url")}
    if isinstance(keys := given.get("api_key_env"), list) and all(isinstance(key, str) for key in keys):
        given["api_key_env"] = ",".join(keys)
    try:
        options = checked(given)
        check_urls(urls, "url")
        keys_of(options.get("api_key_env"), len(urls))
    except ConsortError as error:
        raise error.within(path) from None
    return reference_text(str(name), urls, options)


def check_url(url: str) -> str:
    """The host of a base URL; BadParameter for one that is not plain http(s), carries secrets or is link-local."""
    if not url.isprintable() or " " in url:
        raise _bad(f"{url!r} has spaces or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise _bad(f"{url!r} is no base URL: {fault}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise _bad(f"{url!r} is no base URL")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise _bad("a base URL has no user, password, query or fragment", "the key belongs into the environment")
    address = _address(parts.hostname)
    if address is None:
        _check_host(parts.hostname, url)
    elif address.is_link_local or address.is_unspecified or address.is_multicast:
        raise _bad(f"{parts.hostname} is no host to ask")
    return parts.hostname


def _check_host(host: str, url: str) -> None:
    try:
        plain = host.encode("idna").decode()
    except UnicodeError:
        plain = ""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", plain):
        raise _bad(f"{url!r} names no host")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host stands for, in any of the ways that systems read; None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, UnicodeError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def _bad(what: str, hint: str = "https://HOST/v1") -> BadParameter:
    return BadParameter(what, field="base_url", hint=hint)
