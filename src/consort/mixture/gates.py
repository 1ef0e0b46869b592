"""Routers of a mixture: from an input to how much of each expert it gets (softmax, top-k, renormalised).

A linear gate made from prompts needs no training: its row for an expert is the mean hidden state after the expert's
positive prompts minus that after its negative ones, of length 1 (2410.05357, appendix). Gates are kept as safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from consort.core.counted import counted
from consort.core.errors import BadCheckpoint, BadParameter
from consort.core.files import write_atomic
from consort.models.abilities import with_hidden
from consort.models.decoding.decode import batches, prompt_tokens
from consort.models.token_model import TokenModel
from consort.weights.checkpoint import Checkpoint
from consort.weights.family import layer_of, role_of

Prompts = Sequence[str]
"""Texts that one expert is for (positive), or not for (negative)."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A linear router, or with two `layers` (weight, bias or None) an MLP with ReLU between them."""

    layers: tuple[tuple[Tensor, Tensor | None], ...]

    def __call__(self, x: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch expert"]:
        x = x.float()
        for number, (weight, bias) in enumerate(self.layers):
            x = F.linear(F.relu(x) if number else x, weight.to(x.device), None if bias is None else bias.to(x.device))
        return x

    @property
    def experts(self) -> int:
        """How many experts it chooses among."""
        return len(self.layers[-1][0])

    @property
    def hidden(self) -> int:
        """The size of the hidden states that it reads."""
        return self.layers[0][0].shape[1]


def linear_gate(weight: Float[Tensor, "expert hidden"], bias: Float[Tensor, " expert"] | None = None) -> Gate:
    """A gate that is one linear map from hidden states to experts."""
    return Gate(((weight.float(), bias),))


def top_k(logits: Float[Tensor, "*batch expert"], k: int) -> tuple[Float[Tensor, "*batch k"], Int[Tensor, "*batch k"]]:
    """The k largest of softmax(logits), scaled to sum 1, and which experts they are."""
    shares, chosen = logits.float().softmax(-1).topk(k, -1)
    return shares / shares.sum(-1, keepdim=True), chosen


def check_prompts(positive: Sequence[Prompts], negative: Sequence[Prompts], experts: int, *, required: bool) -> None:
    """Raise BadParameter unless there is a list of texts for each expert (none at all is fine where not `required`)."""
    for name, given in (("positive", positive), ("negative", negative)):
        if not given and not (required and name == "positive"):
            continue
        if isinstance(given, str) or len(given) != experts:
            message = f"{counted(len(given), 'list')} of prompts for {counted(experts, 'expert')}"
            raise BadParameter(message, field=name, hint="give each expert a list of texts, e.g. [[a, b], [c]]")
        for number, texts in enumerate(given):
            if isinstance(texts, str) or not isinstance(texts, Sequence) or not all(isinstance(t, str) for t in texts):
                raise BadParameter(f"{texts!r:.60} is no list of texts", field=f"{name}[{number}]", hint="write [a, b]")
            if name == "positive" and not any(texts):
                raise BadParameter("has no texts", field=f"{name}[{number}]", hint="name words or examples of its work")


def hidden_gates(
    reference: TokenModel,
    positive: Sequence[Prompts],
    negative: Sequence[Prompts],
    layers: Sequence[int],
    *,
    mean: bool = False,
    centred: bool = False,
) -> dict[int, Gate]:
    """Gates for the inputs of `layers` (counted from 0) from hidden states of each prompt's last token (or the mean).

    An expert without negative prompts has the other experts' positive ones. A layer that cannot tell the experts apart
    by the last token (the first one, where all prompts end alike) takes the mean. `centred` gates see states less the
    mean over experts, which a bias does; a sparse network's routers have none. Raises Unsupported for a model that
    does not show hidden states, BadParameter where positive and negative prompts are the same.
    """
    rows = _differences(reference, positive, negative, layers, mean)
    found = {}
    for layer, part in zip(layers, rows, strict=True):
        if not mean and len(part) > 1 and bool((part.norm(dim=-1) == 0).any()):
            (part,) = _differences(reference, positive, negative, [layer], True)
        found[layer] = linear_gate(unit_rows(part))
        if centred:
            means = [states_of(reference, texts, [layer], mean=mean).mean((0, 1)) for texts in positive]
            weight = found[layer].layers[0][0]
            found[layer] = linear_gate(weight, -weight @ torch.stack(means).mean(0))
    return found


def _differences(
    reference: TokenModel, positive: Sequence[Prompts], negative: Sequence[Prompts], layers: Sequence[int], mean: bool
) -> Float[Tensor, "layer expert hidden"]:
    """Mean states after positive prompts minus those after negative ones."""
    means = [states_of(reference, texts, layers, mean=mean).mean(1) for texts in positive]
    rows = []
    for number, own in enumerate(means):
        others = [m for i, m in enumerate(means) if i != number]
        if number < len(negative) and negative[number]:
            own = own - states_of(reference, negative[number], layers, mean=mean).mean(1)
        elif others:
            own = own - torch.stack(others).mean(0)
        rows.append(own)
    return torch.stack(rows, 1)


def unit_rows(rows: Float[Tensor, "expert hidden"]) -> Float[Tensor, "expert hidden"]:
    """Rows of length 1. Raises BadParameter for a row of zeros."""
    for number, length in enumerate(rows.norm(dim=-1).tolist()):
        if length == 0 and len(rows) > 1:
            hint = "give every expert prompts of its own"
            raise BadParameter("its prompts say nothing the others' do not", field=f"positive[{number}]", hint=hint)
    return F.normalize(rows, dim=-1)


def states_of(
    reference: TokenModel, texts: Sequence[Any], layers: Sequence[int], *, mean: bool = False
) -> Float[Tensor, "layer text hidden"]:
    """Hidden states at the input of each of `layers` (-1: the last of all) after each text, or their mean over it.

    Of texts longer than the window the end is read.
    """
    window = reference.window or 1 << 30
    rows = [prompt_tokens(reference.tokenizer, text)[-window:] for text in texts]
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    for batch in batches([len(row) for row in rows], reference.batch_tokens):
        session = with_hidden(reference.open(len(batch)), reference.name)
        states = session.feed_hidden([rows[i] for i in batch], tuple(layers), last=not mean)
        for i, state in zip(batch, states, strict=True):
            found[i] = state.hidden.float().mean(1)
    return torch.stack(found, 1)


def embedding_gates(
    base: Checkpoint, token_lists: Sequence[tuple[Sequence[int], Sequence[int]]], layers: Sequence[int]
) -> dict[int, Gate]:
    """One gate for all layers from mean embeddings of the tokens of positive and negative prompts; loads no model."""
    names = [n for n in base.keys() if role_of(n) == "embedding" and layer_of(n) is None]
    table = base[names[0]]
    means = [(_mean_row(table, yes), _mean_row(table, no)) for yes, no in token_lists]
    gate = linear_gate(unit_rows(torch.stack([yes - no for yes, no in means])))
    return dict.fromkeys(layers, gate)


def _mean_row(table: Float[Tensor, "token hidden"], tokens: Sequence[int]) -> Float[Tensor, " hidden"]:
    return table[torch.tensor(tokens)].float().mean(0) if tokens else torch.zeros(table.shape[1])


def random_gates(
    experts: int, hidden: int, layers: Sequence[int], seed: int, *, uniform: bool = False
) -> dict[int, Gate]:
    """Rows of normal numbers of expected length 1, or uniform ones of the same spread; decided by seed and layer."""
    found = {}
    for layer in layers:
        generator = torch.Generator().manual_seed((seed << 20) + layer)
        draw = torch.rand if uniform else torch.randn
        rows = draw(experts, hidden, generator=generator)
        found[layer] = linear_gate((rows * 2 - 1) * (3 / hidden) ** 0.5 if uniform else rows / hidden**0.5)
    return found


def fitted_gate(
    states: Float[Tensor, "example hidden"], scores: Float[Tensor, "example expert"], ridge: float = 1.0
) -> Gate:
    """The linear gate that predicts scores from states best (least squares, `ridge` times the mean variance)."""
    middle, scale = states.mean(0), states.std(0).clamp_min(1e-6) if len(states) > 1 else torch.ones(states.shape[1])
    x, y = ((states - middle) / scale).double(), (scores - scores.mean(0)).double()
    gram = x.T @ x + ridge * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, x.T @ y).T.float() / scale
    return linear_gate(weight, scores.mean(0).float() - weight @ middle)


def write_gates(path: Path | str, gates: Mapping[int, Gate]) -> None:
    """Write gates as one safetensors file: `LAYER.PART.weight` and `LAYER.PART.bias`."""
    from safetensors.torch import save

    tensors = {}
    for layer, gate in gates.items():
        for part, (weight, bias) in enumerate(gate.layers):
            tensors[f"{layer}.{part}.weight"] = weight.detach().float().clone().contiguous()
            if bias is not None:
                tensors[f"{layer}.{part}.bias"] = bias.detach().float().clone().contiguous()
    write_atomic(Path(path), save(tensors, metadata={"format": "pt"}))


def read_gates(path: Path | str, *, layers: Sequence[int], experts: int, hidden: int) -> dict[int, Gate]:
    """The gates of a file, one for each of `layers`. Raises BadCheckpoint for a file that does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise BadCheckpoint(f"no readable router: {error}", field=str(path), hint="write it with write_gates") from None
    found = {}
    for layer in layers:
        parts = [p for p in range(2) if f"{layer}.{p}.weight" in tensors]
        gate = Gate(tuple((tensors[f"{layer}.{p}.weight"], tensors.get(f"{layer}.{p}.bias")) for p in parts))
        if not parts or any(w.dim() != 2 for w, _ in gate.layers) or (gate.experts, gate.hidden) != (experts, hidden):
            message = f"has no router of {counted(experts, 'expert')} and width {hidden} for layer {layer}"
            raise BadCheckpoint(message, field=str(path), hint="the file is another mixture's")
        found[layer] = gate
    return found
