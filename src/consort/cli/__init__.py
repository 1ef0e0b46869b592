"""The command line: one file for each verb; results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from consort.cli.border import run

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The program `consort`: exits 0 done, 1 defect, 2 the user's mistake, 3 the machine's, 130 interrupted."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))
