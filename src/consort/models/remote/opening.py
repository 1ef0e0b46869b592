"""What a reference to an endpoint opens: the model there, or one model at several addresses."""

from __future__ import annotations

from typing import Any

from consort.models.remote.model import RemoteModel
from consort.models.remote.reference import split_reference
from consort.models.remote.replicas.model import Replicas


def remote_model(reference: str, **options: Any) -> RemoteModel | Replicas:
    """The model that `openai:NAME@BASE_URL` names (see remote/reference.py). Raises BadParameter for anything else."""
    name, base_urls, given = split_reference(reference)
    if len(base_urls) == 1:
        return RemoteModel(name, base_urls[0], **{**given, **options})
    return Replicas(name, base_urls, **{**given, **options})
