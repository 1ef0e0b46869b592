"""Characters that are only begun: what the first bytes of a UTF-8 form leave open."""

from __future__ import annotations

from functools import lru_cache
from unicodedata import category


def whole_characters(data: bytes) -> tuple[str, bytes] | None:
    """The characters of bytes and the beginning of one more; None if they are neither."""
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        rest = data[error.start :]
        if error.end < len(data) or not beginnings(rest):
            return None
        return data[: error.start].decode(), rest


def beginnings(start: bytes) -> int:
    """How many characters have a UTF-8 form that begins with these bytes and is longer."""
    return len(_points(start))


def characters(start: bytes) -> list[str]:
    """The characters whose UTF-8 form begins with these bytes and is longer, in order."""
    return [chr(point) for point in _points(start)]


@lru_cache(maxsize=4096)
def kinds(start: bytes) -> tuple[str, ...]:
    """Of these characters the first of each category, spaces, letters and numbers apart; in order."""
    found: dict[tuple[str, bool, bool, bool], str] = {}
    for char in map(chr, _points(start)):
        found.setdefault((category(char), char.isspace(), char.isalpha(), char.isnumeric()), char)
    return tuple(found.values())


@lru_cache(maxsize=4096)
def _points(start: bytes) -> range:
    first = start[0] if start else 0
    size = 2 if 0xC2 <= first <= 0xDF else 3 if 0xE0 <= first <= 0xEF else 4 if 0xF0 <= first <= 0xF4 else 0
    if len(start) >= size:
        return range(0)
    odd = {0xE0: (0xA0, 0xC0), 0xED: (0x80, 0xA0), 0xF0: (0x90, 0xC0), 0xF4: (0x80, 0x90)}
    low, high = odd.get(first, (0x80, 0xC0))
    if not all((low if n == 0 else 0x80) <= byte < (high if n == 0 else 0xC0) for n, byte in enumerate(start[1:])):
        return range(0)
    least = start + bytes([low] if len(start) == 1 else b"") + b"\x80" * (size - len(start) - (len(start) == 1))
    count = (high - low) * 64 ** (size - 2) if len(start) == 1 else 64 ** (size - len(start))
    return range(ord(least.decode()), ord(least.decode()) + count)
