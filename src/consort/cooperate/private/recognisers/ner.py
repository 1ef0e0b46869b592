"""Names, places and organisations, found by any token classifier of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from consort.cooperate.private.recognisers import recogniser
from consort.cooperate.private.spans import Span
from consort.core.errors import BadCheckpoint
from consort.core.params import Range
from consort.models.hf.quiet import quiet

NAMES = {"PER": "PERSON", "LOC": "PLACE", "ORG": "ORGANISATION", "GPE": "PLACE", "MISC": ""}


@recogniser(paper="token classification")
class Ner:
    """What the classifier in the folder `model` calls a name, with at least the probability `least`.

    `kinds` are the labels that count, without `B-` and `I-`. The folder must have a fast tokenizer; safetensors only.
    """

    def __init__(
        self,
        model: str,
        *,
        kinds: Sequence[str] = ("PER", "PERSON", "LOC", "ORG", "GPE"),
        least: Annotated[float, Range(0, 1)] = 0.5,
    ) -> None:
        self.model, self.kinds, self.least = model, tuple(kinds), least
        self._loaded: tuple[Any, Any] | None = None

    def find(self, text: str) -> Iterator[Span]:
        import torch

        tokenizer, module = self._open()
        if not text.strip():
            return
        given = tokenizer(text, return_offsets_mapping=True, return_tensors="pt", truncation=False)
        places = given.pop("offset_mapping")[0].tolist()
        window = int(getattr(module.config, "max_position_embeddings", 0) or len(places))
        if len(places) > window:  # read in halves, at a space
            middle = text.rfind(" ", 0, len(text) // 2) + 1 or len(text) // 2
            yield from self.find(text[:middle])
            for span in self.find(text[middle:]):
                yield Span(span.start + middle, span.stop + middle, span.kind, span.priority)
            return
        with torch.inference_mode():
            chances = module(**given).logits[0].softmax(-1)
        best = chances.max(-1)
        labels = [str(module.config.id2label[i]) for i in best.indices.tolist()]
        yield from self._joined(text, places, labels, best.values.tolist())

    def _joined(
        self, text: str, places: Sequence[Sequence[int]], labels: Sequence[str], chances: Sequence[float]
    ) -> Iterator[Span]:
        """Tokens of one label, side by side, as one place."""
        open_: Span | None = None
        for (start, stop), label, chance in zip(places, labels, chances, strict=True):
            mark, _, bare = label.rpartition("-")
            counts = bare in self.kinds and chance >= self.least and stop > start
            kind = NAMES.get(bare, "".join(c for c in bare.upper() if c.isalnum())) or "NAME"
            if open_ and (not counts or kind != open_.kind or mark == "B" or text[open_.stop : start].strip()):
                yield open_
                open_ = None
            if counts:
                open_ = Span(open_.start if open_ else start, stop, kind, 40)
        if open_:
            yield open_

    def _open(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForTokenClassification, AutoTokenizer

            safe = {"local_files_only": True, "trust_remote_code": False}
            try:
                with quiet():
                    module = AutoModelForTokenClassification.from_pretrained(
                        self.model, use_safetensors=True, dtype=torch.float32, **safe
                    )
                    self._loaded = AutoTokenizer.from_pretrained(self.model, use_fast=True, **safe), module.eval()
            except (OSError, ValueError) as fault:
                hint = "a folder of a token classifier with its fast tokenizer"
                raise BadCheckpoint(f"cannot be read as a classifier: {fault}", field=self.model, hint=hint) from None
        return self._loaded
