"""What a session asks of the model that it is opened on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Host(Protocol):
    """A transformers module with its name and bounds; `hf.model.HFModel` is one.

    `arguments` are the names that the module's `forward` takes, `vocabulary` how many logits it gives.
    """

    name: str
    module: Any
    vocabulary: int
    window: int | None
    arguments: frozenset[str]

    @property
    def device(self) -> torch.device:
        """The device that its weights are on."""

    def no_logits(self) -> Tensor:
        """What an empty feed gives."""

    def check_feed(self, lengths: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """Raise BadData if rows of these lengths cannot go on with these tokens."""
