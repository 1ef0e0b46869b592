"""Chat templates are code that comes with a model. transformers sandboxes it; here its time is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from consort.core.errors import BadData
from consort.core.guard import told
from consort.core.time_limit import time_limit

SECONDS = 5.0
"""What writing one chat may take."""


@contextmanager
def writing_by_template(whose: str, field: str) -> Iterator[None]:
    """Within the block, whatever a chat template raises, or taking too long, is BadData."""
    try:
        with time_limit(SECONDS):
            yield
    except Exception as error:
        hint = "mend its chat template, or leave it out: --template none"
        raise BadData(f"{whose} refuses the chat: {told(error)}", field=field, hint=hint) from error
