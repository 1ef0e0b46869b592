"""What stands between the cells of a table in a text file."""

from __future__ import annotations


def separator_of(names: str) -> str:
    r"""Comma, semicolon or tab, whichever a table's first line has most of.

    >>> separator_of("prompt;small;large")
    ';'
    """
    return max(",;\t", key=names.count)
