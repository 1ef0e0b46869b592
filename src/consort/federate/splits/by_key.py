"""A client for each label: a hospital, a language, a skill."""

from __future__ import annotations

from collections.abc import Sequence

from consort.core.errors import BadParameter
from consort.federate.splits import split


@split(paper="natural partition")
class ByKey:
    """All rows of one label to one client; with fewer clients than labels they are dealt out in order."""

    needs_labels = True

    def parts(self, labels: Sequence[str], clients: int, seed: int) -> list[list[int]]:
        """The rows of each client, by number. Raises BadParameter for more clients than labels."""
        names = sorted(set(labels))
        if clients > len(names):
            what = f"{clients} clients for {len(names)} labels"
            raise BadParameter(what, field="clients", hint=f"at most {len(names)}, or another split")
        home = {name: place % clients for place, name in enumerate(names)}
        return [[i for i, label in enumerate(labels) if home[label] == client] for client in range(clients)]
