"""Language models at work: the protocols, transformers models behind them, decoding, and exact fakes for tests.

Importing this package does not import torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from consort.core.packages import lazy_names

_HOMES = {
    "AsBytes": "bytewise.model",
    "ByteTokenizer": "tokens.tokenizer",
    "FakeModel": "fake",
    "FakeTokenModel": "fake",
    "FakeTokenizer": "fake",
    "HFModel": "hf.model",
    "HFTokenizer": "tokens.tokenizer",
    "LanguageModel": "base",
    "Meter": "cost",
    "RemoteModel": "remote.model",
    "Replicas": "remote.replicas.model",
    "Scorer": "base",
    "Session": "base",
    "TokenModel": "token_model",
    "Tokenizer": "base",
    "joined": "cost",
    "labels": "cost",
    "load_model": "hf.loading",
    "remote_model": "remote.opening",
}

__all__, __getattr__ = lazy_names(__name__, _HOMES)
