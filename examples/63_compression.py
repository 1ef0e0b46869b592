"""Shorter prompts: baselines beside clever compressors, and a model that reads through one."""

from __future__ import annotations

from consort import lab
from consort.cooperate.compress import Budget, Compressed, Part
from consort.cooperate.compress.compressors.bm25 import Bm25
from consort.cooperate.compress.compressors.first import First
from consort.cooperate.compress.compressors.selective import Selective
from consort.core.types import Sampling
from consort.models import load_model

TEXT = "rain fell on the hills . the key is under the stone . the ducks ate all of the bread . "
QUESTION = "where is the key ?"

small = load_model(lab.path("base"))
for compressor in (First(), Bm25(), Selective(small, unit="word")):
    (found,) = compressor.compress([Part(TEXT)], Budget(rate=0.4), QUESTION, reader=small.tokenizer)
    print(f"{compressor.name:10} {found.tokens_after:3} of {found.tokens_before} tokens: {found.text!r}")

reader = Compressed(small, Bm25(), rate=0.4)
(answer,) = reader.generate([f"{TEXT}\n\n{QUESTION}"], Sampling(max_tokens=4))
print(
    answer.details["compression"]["tokens_after"],
    "of",
    answer.details["compression"]["tokens_before"],
    "tokens were read",
)
