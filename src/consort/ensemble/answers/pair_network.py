"""PairRM's network (2306.02561, section 3.2): an encoder reads the source and two candidates and compares them.

Weights have the published names, so a folder of PairRM loads: `pretrained_model.*` is the encoder, `head_layer.1` and
`head_layer.4` are the two linear layers of the head; marks before source and candidates are tokens of their own, whose
last hidden states are what the head sees. The encoder is any of transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.core.errors import BadCheckpoint
from consort.models.hf.quiet import quiet
from consort.models.judges.classifiers import SAFE

SOURCE, FIRST, SECOND = "<|source|>", "<|candidate1|>", "<|candidate2|>"
MOST_SOURCE, MOST_CANDIDATE = 1224, 412
"""Tokens of source and of a candidate that are read at most, as in the paper."""
PREFIX = "pretrained_model."


class PairNetwork(nn.Module):
    """Encoder and head; `forward` gives the logit that the first candidate is better."""

    def __init__(self, encoder: nn.Module, size: int, *, tasks: int = 1, dropout: float = 0.05) -> None:
        super().__init__()
        self.pretrained_model = encoder
        self.head_layer = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(2 * size, size), nn.Tanh(), nn.Dropout(dropout), nn.Linear(size, tasks)
        )

    def forward(
        self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"], marks: Int[Tensor, "row 3"]
    ) -> Float[Tensor, " row"]:
        """`marks` are the places of the three marks; the mean over tasks of s(source, first) - s(source, second)."""
        states = self.pretrained_model(input_ids=ids, attention_mask=mask).last_hidden_state
        rows = torch.arange(len(ids), device=ids.device)
        source, first, second = (states[rows, marks[:, k]] for k in range(3))
        left = self.head_layer(torch.cat([source, first], dim=-1))
        right = self.head_layer(torch.cat([source, second], dim=-1))
        return (left - right).mean(-1)  # type: ignore[no-any-return]


@dataclass(slots=True)
class Comparer:
    """A network with the tokenizer that it reads with; `marks` are the ids of the three marks."""

    network: PairNetwork
    tokenizer: Any
    marks: tuple[int, int, int]
    window: int

    def logits(self, triples: Sequence[tuple[str, str, str]]) -> tuple[Float[Tensor, " triple"], int]:
        """A logit for each (source, first, second) that the first is better, and how many tokens were read."""
        rows = [self.encode(*triple) for triple in triples]
        width = max(len(ids) for ids, _ in rows)
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([row + [pad] * (width - len(row)) for row, _ in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row, _ in rows])
        return self.network(ids, mask, torch.tensor([marks for _, marks in rows])), sum(len(row) for row, _ in rows)

    def encode(self, source: str, first: str, second: str) -> tuple[list[int], list[int]]:
        """Token ids, and where the marks stand; what is too long loses its end, the source first."""
        texts = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (source, first, second)]
        ends = [t for t in (self.tokenizer.cls_token_id,) if t is not None]
        after = [t for t in (self.tokenizer.sep_token_id,) if t is not None]
        room = self.window - len(ends) - 3 * (1 + len(after))
        candidate = min(MOST_CANDIDATE, room // 3)
        first_ids, second_ids = texts[1][:candidate], texts[2][:candidate]
        left = min(MOST_SOURCE, room - len(first_ids) - len(second_ids))
        ids, places = list(ends), []
        for mark, part in zip(self.marks, (texts[0][:left], first_ids, second_ids), strict=True):
            places.append(len(ids))
            ids += [mark, *part, *after]
        return ids, places


def open_comparer(folder: str | Path) -> Comparer:
    """A comparer from a folder in PairRM's format: config, tokenizer and safetensors of the published names.

    Raises BadCheckpoint naming what is missing.
    """
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    folder = Path(folder)
    files = sorted(folder.glob("*.safetensors"))
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, **SAFE)
            tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
        state = {name: tensor for file in files for name, tensor in load_file(file).items()}
    except (OSError, ValueError) as fault:
        raise BadCheckpoint(f"cannot be read as a ranker: {fault}", field=str(folder), hint="a PairRM folder") from None
    with torch.random.fork_rng(devices=[]):
        encoder = AutoModel.from_config(config, trust_remote_code=False)
    tasks = int(getattr(config, "n_tasks", 1))
    network = PairNetwork(encoder, config.hidden_size, tasks=tasks, dropout=float(getattr(config, "drop_out", 0.0)))
    wanted = dict(network.named_parameters())
    missing = [name for name in wanted if name not in state]
    wrong = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    if missing or wrong:
        what = f"lacks {missing[0]}" if missing else f"has another shape of {wrong[0]}"
        raise BadCheckpoint(what, field=str(folder), hint="a ranker has pretrained_model.* and head_layer.*")
    network.load_state_dict(state, strict=False)
    marks = tuple(_mark(config, tokenizer, kind) for kind in ("source", "cand1", "cand2"))
    window = int(getattr(config, "max_position_embeddings", 2048))
    is_relative = getattr(config, "relative_attention", False)
    return Comparer(network.float().eval(), tokenizer, marks, 2048 if is_relative else window)  # type: ignore[arg-type]


def _mark(config: Any, tokenizer: Any, kind: str) -> int:
    token = {"source": SOURCE, "cand1": FIRST, "cand2": SECOND}[kind]
    found = getattr(config, f"{kind}_prefix_id", None)
    if found is None:
        found = tokenizer.convert_tokens_to_ids(token)
    if found is None or found == tokenizer.unk_token_id:
        raise BadCheckpoint(f"has no token {token}", field=str(tokenizer.name_or_path), hint="add it to the tokenizer")
    return int(found)
