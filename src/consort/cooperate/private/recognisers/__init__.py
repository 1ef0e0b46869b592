"""What finds private things in a text: one kind of thing a file; a plug-in may add more."""

from __future__ import annotations

from typing import Any

from consort.core.registry import Registry

RECOGNISERS: Registry[Any] = Registry(
    "recogniser", "consort.cooperate.private.recognisers", decorator="recogniser", produces="recogniser"
)
recogniser = RECOGNISERS.registrar()

DEFAULT = (
    "email",
    "phone",
    "card",
    "iban",
    "ip_address",
    "api_key",
    "url_credentials",
    "assigned_secret",
    "chinese_id",
)
"""The recognisers that need to be told nothing."""
