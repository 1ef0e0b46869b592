"""A zoo of models of unknown kinship: how alike they are, which of them can be merged, which of them do harm.

Importing this package does not import torch; a name does so when it is first asked for.
"""

from __future__ import annotations

from consort.core.packages import lazy_names

_HOMES = {
    "Cluster": "clusters",
    "Signals": "signals",
    "Similarities": "similarity",
    "Suspicion": "harmful",
    "architecture_families": "families",
    "cluster": "clusters",
    "components": "clusters",
    "find_harmful": "harmful",
    "leader": "clusters",
    "mergeability": "signals",
    "similarities": "similarity",
}

__all__, __getattr__ = lazy_names(__name__, _HOMES)
