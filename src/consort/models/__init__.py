"""Language models at work: the protocols, transformers models behind them, decoding, and exact fakes for tests.

Importing this package does not import torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "AsBytes": "bytes",
    "ByteTokenizer": "tokenizer",
    "FakeModel": "fake",
    "FakeTokenModel": "fake",
    "FakeTokenizer": "fake",
    "HFModel": "hf",
    "HFTokenizer": "tokenizer",
    "LanguageModel": "base",
    "Meter": "cost",
    "RemoteModel": "remote",
    "Scorer": "base",
    "Session": "base",
    "TokenModel": "base",
    "Tokenizer": "base",
    "joined": "cost",
    "labels": "cost",
    "load_model": "hf",
    "remote_model": "remote",
}

__all__ = [
    "AsBytes",
    "ByteTokenizer",
    "FakeModel",
    "FakeTokenModel",
    "FakeTokenizer",
    "HFModel",
    "HFTokenizer",
    "LanguageModel",
    "Meter",
    "RemoteModel",
    "Scorer",
    "Session",
    "TokenModel",
    "Tokenizer",
    "joined",
    "labels",
    "load_model",
    "remote_model",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
