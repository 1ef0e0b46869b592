"""Routers that learn: the language-model loss of the whole mixture, with every weight but the routers' frozen.

The forward pass is transformers' own over the experts' modules. While a router learns, every expert contributes its
share of the softmax, since of a single chosen expert the renormalised share is always 1 and has no gradient; the
mixture that reads the file then takes the top k.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from consort.core.errors import BadData, BadParameter
from consort.core.types import Prompt
from consort.mixture.gates import Gate, fitted_gate, states_of, write_gates
from consort.mixture.prompt_mixture import KEY, PromptMixture
from consort.models.decoding.decode import prompt_tokens
from consort.train import Recipe, fit, sft
from consort.train.losses import IGNORE

if TYPE_CHECKING:
    from consort.mixture.weight_mixture import WeightMixture

PAIRS = 4
"""Examples of one step."""


def fit_prompt_router(
    mixture: PromptMixture,
    prompts: Sequence[Prompt],
    scores: Sequence[Sequence[float]],
    out: Path | str,
    *,
    ridge: float = 1.0,
) -> Gate:
    """Write the linear router that predicts `scores` (one row for each prompt, one number for each model) to `out`."""
    if not prompts or len(prompts) != len(scores) or any(len(row) != len(mixture.models) for row in scores):
        message = f"{len(scores)} rows of scores for {len(prompts)} prompts and {len(mixture.models)} models"
        raise BadData(message, field="scores", hint="give one row for each prompt, one number for each model")
    states = states_of(mixture.reference, prompts, (mixture.layer,), mean=mixture.input == "mean")[0]
    gate = fitted_gate(states, torch.tensor([list(row) for row in scores], dtype=torch.float32), ridge)
    write_gates(out, {KEY: gate})
    return gate


def train_router(
    mixture: WeightMixture,
    examples: Sequence[tuple[str, str]],
    out: Path | str,
    *,
    recipe: Recipe,
    kind: Literal["mlp", "linear"] = "mlp",
    width: int = 64,
    seed: int = 0,
    state: Path | None = None,
) -> float:
    """Train the routers of `mixture` on `examples` (prompt, answer) and write them to `out`; the last step's loss.

    `kind` "mlp" is Linear-ReLU-Linear with `width` inner units, from a random start; "linear" starts from the
    mixture's own gates. Routers of rows see the prompt alone, as they will at work. With `state` a killed run goes on.
    Raises BadParameter, BadData.
    """
    if not examples:
        raise BadData("there is nothing to learn from", field="examples", hint="give (prompt, answer) pairs")
    if kind not in ("mlp", "linear"):
        raise BadParameter(f"{kind!r} is no kind of router", field="kind", hint="mlp or linear")
    if not mixture.mixed_layers:
        hint = f"a number below {mixture.depth}"
        raise BadParameter("nothing is mixed, so there is no router", field="num_dense", hint=hint)
    routers = {layer: _Router(gate, kind, width, seed + layer) for layer, gate in mixture.gates.items()}
    network = _Network(mixture, routers)
    pairs = [(prompt_tokens(mixture.tokenizer, p), mixture.tokenizer.encode(a, special=False)) for p, a in examples]

    def batch(rng: random.Random) -> list[tuple[list[int], list[int]]]:
        return rng.sample(pairs, min(PAIRS, len(pairs)))

    loss: float = fit(network, batch, _loss, recipe, seed=seed, state=state)
    write_gates(out, {layer: router.gate() for layer, router in routers.items()})
    return loss


class _Router(nn.Module):
    """A gate with parameters."""

    def __init__(self, start: Gate, kind: str, width: int, seed: int) -> None:
        super().__init__()
        if kind == "linear":
            shapes = [(w.clone(), torch.zeros(len(w)) if b is None else b.clone()) for w, b in start.layers]
        else:
            generator = torch.Generator().manual_seed(seed)
            sizes = ((width, start.hidden), (start.experts, width))
            shapes = [(torch.randn(s, generator=generator) / s[1] ** 0.5, torch.zeros(s[0])) for s in sizes]
        self.weights = nn.ParameterList([w for w, _ in shapes])
        self.biases = nn.ParameterList([b for _, b in shapes])

    def gate(self) -> Gate:
        return Gate(tuple((w.detach(), b.detach()) for w, b in zip(self.weights, self.biases, strict=True)))

    def forward(self, x: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch expert"]:
        return Gate(tuple(zip(self.weights, self.biases, strict=True)))(x).softmax(-1)


class _Mlps(nn.Module):
    """In the place of a layer's MLP: all experts' MLPs, by their shares."""

    def __init__(self, network: _Network, router: _Router, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.router, self.parts, self.shares_of = router, nn.ModuleList(parts), network.shares

    def forward(self, x: Float[Tensor, "row token hidden"]) -> Float[Tensor, "row token hidden"]:
        shares = self.shares_of(self.router, x)
        total = torch.zeros_like(x)
        for i, part in enumerate(self.parts):
            total = total + part(x) * shares[..., i, None]
        return total


class _Stacks(nn.Module):
    """In the place of one layer: each expert's layers one after the other, summed by their shares."""

    def __init__(self, network: _Network, router: _Router, parts: Sequence[Sequence[nn.Module]]) -> None:
        super().__init__()
        self.router, self.parts = router, nn.ModuleList([nn.ModuleList(part) for part in parts])
        self.shares_of = network.shares

    def forward(self, hidden: Float[Tensor, "row token hidden"], **given: Any) -> Float[Tensor, "row token hidden"]:
        shares, total = self.shares_of(self.router, hidden), torch.zeros_like(hidden)
        for number, part in enumerate(self.parts):
            x = hidden
            for layer in part.children():
                x = layer(x, **given)
            total = total + x * shares[..., number, None]
        return total


class _Network(nn.Module):
    """The base's module with its mixed parts replaced; only routers require a gradient."""

    def __init__(self, mixture: WeightMixture, routers: dict[int, _Router]) -> None:
        super().__init__()
        from consort.models.hf.loading import load_model

        self.by_token, self.first_token = mixture.input == "token", mixture.input == "first_token"
        self.prompt = 0
        self.module = load_model(mixture.base, dtype="float32").module.requires_grad_(False)
        experts = [
            load_model(model, dtype="float32").module.requires_grad_(False).model.layers for model in mixture.models
        ]
        layers, first = self.module.model.layers, mixture.num_dense
        if mixture.level == "ffn":
            for number in mixture.mixed_layers:
                layers[number].mlp = _Mlps(self, routers[number], [e[number].mlp for e in experts])
        elif mixture.level == "block":
            for number in mixture.mixed_layers:
                layers[number] = _Stacks(self, routers[number], [[e[number]] for e in experts])
        else:
            whole = _Stacks(self, routers[first], [list(e[first:]) for e in experts])
            self.module.model.layers = nn.ModuleList([*layers[:first], whole])
            self.module.config.num_hidden_layers = first + 1

    def shares(self, router: _Router, x: Float[Tensor, "row token hidden"]) -> Float[Tensor, "row token expert"]:
        if self.by_token:
            return router(x)  # type: ignore[no-any-return]
        read = x[:, : 1 if self.first_token else self.prompt]
        return router(read.mean(1, keepdim=True))  # type: ignore[no-any-return]

    def forward(self, ids: Int[Tensor, "row token"], prompt: int) -> Float[Tensor, "row token vocab"]:
        self.prompt = prompt
        return self.module(input_ids=ids, use_cache=False).logits  # type: ignore[no-any-return]


def _loss(network: nn.Module, pairs: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """Mean cross entropy of the answers; each pair is read by itself, so that nothing is padded."""
    losses = []
    for prompt, answer in pairs:
        labels = torch.tensor([[IGNORE] * len(prompt) + answer])
        logits = network(torch.tensor([prompt + answer]), len(prompt))
        losses.append(sft(logits, labels))
    return torch.stack(losses).mean()
