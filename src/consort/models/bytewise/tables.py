"""What is worked out once for a vocabulary: which texts its tokens are by their shape, its trees of merges.

Kept on disk under the hash of the tokenizer, since 150,000 tokens take seconds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from consort.core.cache import cache_folder
from consort.core.errors import ConsortError
from consort.core.files import whole_file
from consort.models.bytewise.characters import whole_characters
from consort.models.bytewise.classes import Classes

Arrays = dict[str, NDArray[Any]]

VERSION = 3
"""Changes whenever tables mean something else."""
_LOG = logging.getLogger("consort.models")
_NO_SHAPE = -1


@dataclass(frozen=True, slots=True)
class Shapes:
    """Tokens by what splitting into words can tell of them: `of` is the number of each token's shape, -1 for none.

    A shape is the classes of its whole characters and one character of each class that its last bytes may begin.
    """

    of: NDArray[np.int64]
    known: list[tuple[str, tuple[str, ...]]]


def shapes(pieces: Sequence[bytes | None], classes: Classes, behind: int = 9) -> Shapes:
    """The shapes of all tokens that begin with a character, as they are `behind` letters after an apostrophe."""
    places: dict[tuple[str, tuple[str, ...]], int] = {}
    of = np.full(len(pieces), _NO_SHAPE, np.int64)
    for i, piece in enumerate(pieces):
        split = whole_characters(piece) if piece else None
        if split is None:
            continue
        text, rest = split
        shape = classes.shape(text, behind), classes.members(rest)
        if not rest or shape[1]:
            of[i] = places.setdefault(shape, len(places))
    return Shapes(of, list(places))


def digest(spec: Mapping[str, Any]) -> str:
    """A hash of all that a tokenizer does."""
    return sha256(json.dumps([VERSION, spec], sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:32]


def kept(name: str, make: Callable[[], Arrays]) -> Arrays:
    """Arrays from a file of the cache; made, and left there, if it is missing or damaged."""
    file = cache_folder() / f"{name}.npz"
    try:
        with np.load(BytesIO(file.read_bytes()), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        _LOG.warning("%s is damaged (%s) and is made again", file, error)
    found = make()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as out:
            np.savez(out, **found)  # type: ignore[arg-type]
    except (OSError, ConsortError) as error:
        _LOG.warning("tables of the tokenizer cannot be kept, and are made again each time: %s", error)
    return found
