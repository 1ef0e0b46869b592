"""Federated cooperation: parties that cannot pool data train one adapter, share prompts, or teach each other.

Importing this package imports no torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from consort.core.packages import lazy_names

_HOMES = {
    "Aggregator": "aggregation",
    "Client": "clients.client",
    "Federation": "rounds",
    "RoundTask": "clients.client",
    "Update": "state",
    "aggregator_of": "choosing",
}

__all__, __getattr__ = lazy_names(__name__, _HOMES)
