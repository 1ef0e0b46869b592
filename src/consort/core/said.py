"""What a run has to say while it goes on: lines on standard error, as they may be shown."""

from __future__ import annotations

import sys

from consort.core.visible import visible


def say(text: str) -> None:
    """One line for the person who waits."""
    print(visible(text), file=sys.stderr, flush=True)
