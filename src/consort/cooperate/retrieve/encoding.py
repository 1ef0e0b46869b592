"""The encoder of an index: named when the index is made, known again by the checksum of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from consort.core.errors import BadData, Unsupported
from consort.knowledge.text_index import Index, TextIndex, read_header


class Encoder(Protocol):
    """Texts to unit vectors."""

    def embed(self, texts: Sequence[str], batch: int = 32) -> Float[np.ndarray, "text size"]: ...


def described(name: str) -> dict[str, Any]:
    """What an index keeps of the encoder `name` (`minilm`, or a folder). Raises MissingExtra, BadParameter."""
    from consort.models.hf.sentence_encoder import SentenceEncoder

    kept = name if name == "minilm" else str(Path(name).resolve())
    return {"name": kept, "digest": SentenceEncoder(name).digest().tobytes().hex()}


def check_encoder(index: Index, name: str = "") -> None:
    """Raise Unsupported for an index without vectors, and what `encoder_of` raises for its encoder; reads headers."""
    kept = index.encoder if isinstance(index, TextIndex) else read_header(Path(index))["encoder"]
    where = str(getattr(index, "folder", None) or "index") if isinstance(index, TextIndex) else str(index)
    if not kept and not (isinstance(index, TextIndex) and (index.vectors is not None or not len(index))):
        hint = "build it with an encoder: consort index SOURCE… OUT --encoder minilm"
        raise Unsupported("the index has no vectors", field=where, hint=hint)
    if kept:
        from consort.models.hf.sentence_encoder import encoder_folder

        encoder_folder(name or kept["name"])


def encoder_of(index: TextIndex, name: str = "") -> Encoder:
    """The encoder that an index was made with. Raises BadData for other weights, MissingExtra, BadParameter."""
    from consort.models.hf.sentence_encoder import SentenceEncoder

    called = name or str(index.encoder.get("name", "minilm"))
    made = SentenceEncoder(called)
    known = index.encoder.get("digest")
    if known and made.digest().tobytes().hex() != known:
        hint = "name the encoder that it was made with, or build the index again"
        raise BadData("the index was made with another encoder", field=f"encoder {called}", hint=hint)
    return made
