"""Token classifiers of transformers: loaded from a folder, read in chunks that never split a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from consort.cooperate.compress.units import continues
from consort.core.errors import BadCheckpoint, Unsupported
from consort.core.types import Usage
from consort.models.hf.quiet import quiet
from consort.models.judges.classifiers import SAFE, folder_of
from consort.weights import Checkpoint

ENDS = (".", "\n", "!", "?")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text for a classifier: ids, the word of each token (their number, from 0), and where each word ends."""

    ids: list[int]
    word: Int[np.ndarray, " token"]
    ends: list[int]


def load_token_classifier(checkpoint: Checkpoint) -> tuple[Any, Any]:
    """Tokenizer and model of a folder with two labels, the second of them `keep`.

    No code of the folder is run, nothing is fetched. Raises BadCheckpoint where it is no such classifier, Unsupported
    for one without a fast tokenizer.
    """
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    folder = folder_of(checkpoint)
    hint = "a folder of AutoModelForTokenClassification with two labels and its tokenizer"
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
            model, info = AutoModelForTokenClassification.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **SAFE
            )
    except (OSError, ValueError, KeyError) as fault:
        line = str(fault).strip().split("\n")[0]
        raise BadCheckpoint(f"cannot be read as a token classifier: {line}", field=checkpoint.name, hint=hint) from None
    if model.config.num_labels != 2:
        raise BadCheckpoint(f"has {model.config.num_labels} labels", field=checkpoint.name, hint=hint)
    if missing := sorted(info["missing_keys"]):
        raise BadCheckpoint(f"has no {missing[0]}: it is no token classifier", field=checkpoint.name, hint=hint)
    if not getattr(tokenizer, "is_fast", False):
        raise Unsupported("has no fast tokenizer", field=checkpoint.name, hint="add its tokenizer.json")
    return tokenizer, model.eval()


def encode(tokenizer: Any, text: str) -> Encoded:
    """The tokens of a text without special ones, and their words."""
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    raw = np.array([-1 if w is None else w for w in read.word_ids()], np.int64)
    if not len(raw):
        return Encoded([], raw, [])
    new = np.ones(len(raw), bool)
    new[1:] = raw[1:] != raw[:-1]
    word = np.cumsum(new) - 1
    stops = np.array([end for _, end in read["offset_mapping"]], np.int64)
    ends = np.maximum.accumulate(np.maximum.reduceat(stops, np.flatnonzero(new)))
    ends[-1] = len(text)
    whole = np.array([not continues(text, end) for end in ends.tolist()])
    joined = np.cumsum(np.concatenate([[0], whole[:-1]]))  # a word that ends inside a grapheme goes on with the next
    return Encoded(list(read["input_ids"]), joined[word], ends[whole].tolist())


def chunks(encoded: Encoded, text: str, most: int) -> list[tuple[int, int]]:
    """Tokens [start, end) of at most `most`, cut after the last end of a sentence in them, else between words.

    A word of more tokens than a chunk holds is the only thing that is cut.
    """
    found, at, total = [], 0, len(encoded.ids)
    while at < total:
        end = min(at + most, total)
        if end < total:
            end = _cut(encoded, text, at, end)
        found.append((at, end))
        at = end
    return found


def _cut(encoded: Encoded, text: str, at: int, end: int) -> int:
    word = encoded.word
    whole = end
    while whole > at and word[whole] == word[whole - 1]:
        whole -= 1
    if whole == at:
        return end
    for cut in range(whole, at, -1):
        if cut < whole and word[cut] == word[cut - 1]:
            continue
        last = word[cut - 1]
        begin = encoded.ends[last - 1] if last else 0
        follows = text[encoded.ends[last] : encoded.ends[last] + 1]
        if text[begin : encoded.ends[last]].rstrip(" ").endswith(ENDS) or follows == "\n":
            return cut
    return whole


@torch.no_grad()
def keep_probabilities(
    tokenizer: Any, model: Any, texts: Sequence[tuple[Encoded, str]], batch: int
) -> tuple[list[Float[Tensor, " token"]], Usage]:
    """p(keep) of every token of every text, in chunks of the model's window, `batch` of them at once."""
    begun = perf_counter()
    head, tail = frame(tokenizer)
    special = len(head) + len(tail)
    most = max(1, window_of(model) - special)
    places = [(i, a, b) for i, (one, text) in enumerate(texts) for a, b in chunks(one, text, most)]
    found = [torch.zeros(len(one.ids)) for one, _ in texts]
    for at in range(0, len(places), batch):
        part = places[at : at + batch]
        rows = [[*head, *texts[i][0].ids[a:b], *tail] for i, a, b in part]
        width = max(map(len, rows))
        pad = tokenizer.pad_token_id or 0
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
        keep = model(input_ids=ids, attention_mask=mask).logits.float().softmax(-1)[..., 1].cpu()
        for row, (i, a, b) in enumerate(part):
            found[i][a:b] = keep[row, len(head) : len(head) + b - a]
    return found, Usage(sum(len(one.ids) for one, _ in texts), 0, len(places), perf_counter() - begun)


def window_of(model: Any) -> int:
    """Tokens that a classifier reads at once, special ones among them: at most 512."""
    positions = getattr(model.config, "max_position_embeddings", 512)
    return int(min(512, positions - (2 if model.config.model_type in ("xlm-roberta", "roberta") else 0)))


def frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    plain, full = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    at = next(i for i in range(len(full)) if full[i : i + len(plain)] == plain)
    return list(full[:at]), list(full[at + len(plain) :])
