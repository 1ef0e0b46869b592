"""What a token classifier learns: to keep the words that a slower compressor keeps (LLMLingua-2, 2403.12968, 3).

A teacher shortens texts; a word of the original is labelled `keep` if it is left in what the teacher made of it: where
it was pruned, by place; where it was written anew, by the longest run of words in common order. Differs from the paper:
any compressor may teach, low-rank deltas and the head are learned instead of all weights, and texts are left out of
which the teacher wrote more than a fifth in other words (the paper leaves out the worst twentieth).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from consort.cooperate.compress.compressor import Compressor
from consort.cooperate.compress.parts import TOUCHED, Budget, Compression
from consort.cooperate.compress.roles import parts_of
from consort.cooperate.compress.soft.encoder import METADATA, put_state, read_state, reader_hash
from consort.cooperate.compress.token_classifier import Encoded, chunks, encode, frame, window_of
from consort.core.errors import BadData
from consort.train.loop import Recipe, fit
from consort.train.lora import Lora, LoraLinear, attach_lora

MODE = "classifier"
BATCH = 8
MOST_NEW = 0.2
"""The share of a teacher's words that may not be the text's own, in their order."""
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text's tokens and, for each of its words, whether the teacher kept it."""

    text: str
    encoded: Encoded
    keep: list[bool]


def labelled(prompts: Sequence[Any], teacher: Compressor, tokenizer: Any, rate: float) -> list[Labelled]:
    """What `teacher` keeps of each text of each prompt at `rate`, but of those that it wrote in words of its own."""
    found = []
    for prompt in prompts:
        divided = parts_of(prompt)
        done = teacher.compress(divided.parts, Budget(rate=rate), divided.question or None)
        for one in done:
            part = divided.parts[one.part]
            encoded = encode(tokenizer, part.text)
            if part.role not in TOUCHED or not encoded.ids:
                continue
            keep = kept_words(part.text, encoded.ends, one)
            found += [] if keep is None else [Labelled(part.text, encoded, keep)]
    return found


def kept_words(text: str, ends: Sequence[int], done: Compression) -> list[bool] | None:
    """Whether each word, by where it ends, is in what is left of a text; None for one that was written too freely."""
    words = [_stripped(text, a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    if done.kept or not done.text:
        return [any(a <= start and end <= b for a, b in done.kept) for start, end in words]
    own, new = ([w.lower() for w in found] for found in ([text[a:b] for a, b in words], _words(done.text)))
    keep = [False] * len(own)
    for block in SequenceMatcher(a=own, b=new, autojunk=False).get_matching_blocks():
        keep[block.a : block.a + block.size] = [True] * block.size
    return keep if new and sum(keep) >= (1 - MOST_NEW) * len(new) else None


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """A word without the white space about it."""
    word = text[start:end]
    first = start + len(word) - len(word.lstrip())
    return first, first + len(word.strip())


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


class Pupil(nn.Module):
    """A token classifier with low-rank deltas on all linear layers but its head, which is learned whole."""

    def __init__(self, model: Any, rank: int, seed: int) -> None:
        super().__init__()
        linear = {n for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        self.head = next(n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m.out_features == 2)
        names = tuple(sorted({n.rpartition(".")[2] for n in linear - {self.head}}))
        attach_lora(model, Lora(rank, 2.0 * rank, names), generator=torch.Generator().manual_seed(seed))
        self.model = model
        model.get_submodule(self.head).requires_grad_(True)

    def learned(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def learn(
    loaded: tuple[Any, Any], rows: Sequence[Labelled], file: Path, *, rank: int, steps: int, lr: float, seed: int
) -> dict[str, Any]:
    """Teach the deltas and the head; only they are written to `file`, with the hash of the model they belong to.

    Raises BadData where nothing, or everything, was kept of all texts.
    """
    tokenizer, model = loaded
    shares = [sum(row.keep) / len(row.keep) for row in rows if row.keep]
    if not shares or not 0 < sum(shares) < len(shares):
        hint = "texts of several words, and a teacher whose rate is between 0 and 1"
        raise BadData("the teacher leaves nothing to learn from", field="teacher", hint=hint)
    known = reader_hash(model)
    pupil = Pupil(model, rank, seed)
    head, tail = frame(tokenizer)
    most = window_of(model) - len(head) - len(tail)
    pieces = [(row, a, b) for row in rows for a, b in chunks(row.encoded, row.text, most)]

    def drawn(rng: random.Random) -> list[tuple[list[int], list[int]]]:
        return [_framed(*rng.choice(pieces), head, tail) for _ in range(BATCH)]

    def loss(module: nn.Module, batch: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        module.eval()  # no dropout: a run that goes on draws what the first would have drawn
        width = max(len(ids) for ids, _ in batch)
        pad = tokenizer.pad_token_id or 0
        ids = torch.tensor([own + [pad] * (width - len(own)) for own, _ in batch], device=model.device)
        wanted = torch.tensor([own + [IGNORED] * (width - len(own)) for _, own in batch], device=model.device)
        mask = torch.tensor([[1] * len(own) + [0] * (width - len(own)) for own, _ in batch], device=model.device)
        logits = model(input_ids=ids, attention_mask=mask).logits
        return cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)

    training = file.with_name(file.name + ".training")
    label = f"{MODE} {rank} {seed}"
    last = fit(pupil, drawn, loss, Recipe(steps, lr), seed=label, state=training, every=100)
    told = {"mode": MODE, "reader": known, "rank": str(rank)}
    written = {METADATA: json.dumps(told, sort_keys=True)}
    partial = file.with_name(file.name + ".partial")
    save_file({n: p.detach().float().contiguous().cpu() for n, p in pupil.learned().items()}, partial, metadata=written)
    partial.replace(file)
    training.unlink(missing_ok=True)
    return {"texts": len(rows), "kept_share": sum(shares) / len(shares), "loss": last}


def _framed(
    row: Labelled, start: int, stop: int, head: Sequence[int], tail: Sequence[int]
) -> tuple[list[int], list[int]]:
    """A chunk with its special tokens, and the label of each token: that of its word."""
    labels = [int(row.keep[word]) for word in row.encoded.word[start:stop].tolist()]
    ids = [*head, *row.encoded.ids[start:stop], *tail]
    return ids, [IGNORED] * len(head) + labels + [IGNORED] * len(tail)


def with_state(loaded: tuple[Any, Any], file: str, rank: int) -> tuple[Any, Any]:
    """The classifier with what it has learned. Raises BadCheckpoint, Incompatible for another model's file."""
    tokenizer, model = loaded
    tensors, _ = read_state(file, mode=MODE, reader=reader_hash(model))
    pupil = Pupil(model, rank, 0)
    hint = "give the rank that it was learned with"
    put_state(pupil.learned(), tensors, file, owner="classifier", hint=hint)
    with torch.no_grad():
        for name, part in list(model.named_modules()):
            if isinstance(part, LoraLinear):
                part.layer.weight.add_(part.scale * (part.lora_B @ part.lora_A))
                parent, _, own = name.rpartition(".")
                setattr(model.get_submodule(parent), own, part.layer)
    return tokenizer, model.requires_grad_(False).eval()
