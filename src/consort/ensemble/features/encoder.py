"""The states of an encoder, frozen: any folder in Hugging Face's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from consort.ensemble.features import feature
from consort.ensemble.routing.features import Rows, remembered
from consort.models.hf.sentence_encoder import SentenceEncoder, encoder_folder


@feature()
class Encoder:
    """The mean last hidden state of the encoder in `folder`, to length 1; `features: FOLDER` is short for it."""

    def __init__(self, folder: str) -> None:
        self.folder = str(folder)
        encoder_folder(self.folder)

    def fitted(self, texts: Sequence[str]) -> Embeddings:
        """The encoder; nothing is fitted on the texts."""
        return Embeddings(SentenceEncoder(self.folder))

    def restored(self, arrays: Mapping[str, np.ndarray]) -> Embeddings | None:
        """The encoder, if the state was learned with the same weights."""
        made = Embeddings(SentenceEncoder(self.folder))
        known = arrays.get("encoder")
        other = known is not None and (known != made.arrays()["encoder"]).any()
        return None if "idf" in arrays or other else made


@dataclass(slots=True)
class Embeddings:
    """The states of an encoder that is not trained any more."""

    encoder: SentenceEncoder
    _memo: dict[int, Rows] = field(default_factory=dict, repr=False)

    def rows(self, texts: Sequence[str]) -> Rows:
        return remembered(self._memo, texts, self.encoder.embed)

    def arrays(self) -> dict[str, np.ndarray]:
        """The digest of the weights, by which a state knows them."""
        return {"encoder": self.encoder.digest()}
