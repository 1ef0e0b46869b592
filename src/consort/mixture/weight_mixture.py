"""Models of one architecture as the experts of one model at run time: their MLPs, their layers, or whole stacks.

Model-GLUE (2410.05357, section 4). What the released code gets wrong is right here: the choice is made once on the
prompt and kept while the answer is written, the cache is on, and padding cannot enter it, since there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import torch

from consort.core.counted import counted
from consort.core.errors import BadParameter, Unsupported
from consort.core.params import Range
from consort.mixture import strategy
from consort.mixture.experts import check_gate, depth_of, gates_for
from consort.mixture.gates import Gate, Prompts
from consort.models.base import Session, Tokenizer
from consort.models.placement import current
from consort.models.token_model import TokenModel
from consort.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from consort.models.hf.lean_pass import Layer, LeanModule
    from consort.models.hf.mixture_pass import Mlp
    from consort.models.hf.model import HFModel


@strategy(paper="2410.05357", example={"gate": "random"})
class WeightMixture(TokenModel):
    """A mixture of models of one architecture: their MLPs, their layers, or whole stacks, chosen by the prompt.

    `base` (a merge of them, say) gives all that is shared: embeddings, final norm, head, the first `num_dense` layers,
    and at level `ffn` the attention. `input`: a router sees the mean of the prompt's tokens (`sample`), its first one,
    or at level `ffn` each token by itself. `top_k`: experts for an input, at levels `block` and `model` always 1.
    `gate`: how linear routers are made, from `positive` and `negative` prompts of each expert or at random; `state`: a
    file of trained ones instead. Raises Unsupported, Incompatible, BadParameter.
    """

    def __init__(
        self,
        base: Checkpoint,
        models: Sequence[Checkpoint],
        *,
        level: Literal["ffn", "block", "model"] = "model",
        input: Literal["sample", "first_token", "token"] = "sample",
        num_dense: Annotated[int, Range(0, inf)] = 0,
        top_k: Annotated[int, Range(1, inf)] | None = None,
        gate: Literal["hidden", "cheap_embed", "random", "uniform_random"] = "hidden",
        positive: Sequence[Prompts] = (),
        negative: Sequence[Prompts] = (),
        state: str = "",
        seed: Annotated[int, Range(0, inf)] = 0,
    ) -> None:
        self.base, self.models, self.level, self.input = base, tuple(models), level, input
        self.num_dense, self.top_k, self.gate, self.state, self.seed = num_dense, top_k, gate, state, seed
        self.positive, self.negative = positive, negative
        self.depth = depth_of(base, self.models)
        self._held = current()
        check_gate(gate, state, positive, negative, len(self.models))
        if num_dense > self.depth:
            hint = f"a whole number up to {self.depth}, where nothing is mixed"
            raise BadParameter(f"the models have {counted(self.depth, 'layer')}", field="num_dense", hint=hint)
        if input == "token" and level != "ffn":
            hint = "input: sample; only MLPs can change from token to token"
            raise BadParameter(f"a {level} has a cache of its own tokens", field="input", hint=hint)
        self.k = _top(top_k, len(self.models), level)
        self.name = f"{level}_mixture({', '.join(model.name for model in self.models)})"

    @property
    def tokenizer(self) -> Tokenizer:  # type: ignore[override]
        """The tokenizer of the base."""
        return self.dense.tokenizer

    @property
    def window(self) -> int | None:  # type: ignore[override]
        """The most tokens that it reads at once."""
        return self.dense.window

    @property
    def batch_tokens(self) -> int:  # type: ignore[override]
        return self.dense.batch_tokens

    @property
    def ends(self) -> frozenset[int]:
        return self.dense.ends

    @cached_property
    def dense(self) -> HFModel:
        """The base at work."""
        from consort.models.hf.loading import load_model

        return load_model(self.base, **self._held.to_json())

    @property
    def mixed_layers(self) -> range:
        """The numbers of the layers that are not dense."""
        return range(self.num_dense, self.depth)

    @cached_property
    def gates(self) -> dict[int, Gate]:
        """The router of each layer that has one; at level `model` it is the first mixed layer's."""
        layers = list(self.mixed_layers[:1] if self.level == "model" else self.mixed_layers)
        if not layers:
            return {}
        found = gates_for(
            self.base,
            self.dense,
            layers,
            len(self.models),
            gate=self.gate,
            state=self.state,
            positive=self.positive,
            negative=self.negative,
            seed=self.seed,
        )
        return dict(found)

    def open(self, batch: int = 1) -> Session:
        from consort.mixture.routes import MixtureSession, Routes
        from consort.models.cost import Meter
        from consort.models.hf.lean_pass import LeanModule
        from consort.models.hf.lean_session import LeanSession
        from consort.models.hf.mixture_pass import MixturePass

        once = self.num_dense if self.level == "model" else None
        options = {"by_token": self.input == "token", "first_token": self.input == "first_token", "once": once}
        routes = Routes(self.gates, self.k, batch, **options)  # type: ignore[arg-type]
        mixed = MixturePass(self._lean, self._experts, self.num_dense, routes)
        session = LeanSession(self.dense, cast(LeanModule, mixed), batch)
        session.meter = Meter(self.name, batch)
        return MixtureSession(session, routes)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """As `TokenModel.score`, each pair routed by its context alone, as `generate` would be."""
        if self.input == "token":
            return super().score(pairs)
        from consort.models.decoding.decode import batches, check_window
        from consort.models.decoding.score import split_pair

        split = [split_pair(self.tokenizer, *pair, field=f"pairs[{i}]") for i, pair in enumerate(pairs)]
        for number, (head, tail) in enumerate(split):
            check_window(self, len(head) + len(tail) - 1, f"pairs[{number}]")
        found = [0.0] * len(pairs)
        for batch in batches([len(head) + len(tail) for head, tail in split], self.batch_tokens):
            rows = [i for i in batch if split[i][1]]
            session = self.open(len(rows))
            first = session.feed([split[i][0] for i in rows], last=True) if rows else []
            rest = session.feed([split[i][1][:-1] for i in rows]) if rows else []
            for i, before, after in zip(rows, first, rest, strict=True):
                ids = torch.tensor(split[i][1], device=before.device)
                logp = torch.cat([before, after]).log_softmax(-1)
                found[i] = float(logp.gather(-1, ids[:, None]).double().sum())
        return found

    @cached_property
    def _lean(self) -> LeanModule:
        return _lean(self.dense)

    @cached_property
    def _experts(self) -> list[list[Layer] | list[Mlp]]:
        """Of each expert what is mixed; the rest of it is let go. A model that is named twice is loaded once."""
        from consort.models.hf.loading import load_model
        from consort.models.hf.mixture_pass import mlp_of
        from consort.weights.views.stack import Slice, Stack

        loaded: dict[int, Any] = {}
        for model in self.models if self.mixed_layers else ():
            if id(model) not in loaded:
                view = Stack([Slice(model, (self.num_dense, self.depth))], base=self.base)
                layers = _lean(load_model(view, **self._held.to_json())).layers
                loaded[id(model)] = [mlp_of(layer) for layer in layers] if self.level == "ffn" else layers
        return [loaded[id(model)] for model in self.models] if loaded else [[]]


def _lean(model: HFModel) -> LeanModule:
    from consort.models.hf.lean_pass import LeanModule, NotLean

    try:
        return LeanModule(model.module)
    except (NotLean, AttributeError) as error:
        hint = "mix it with prompt_mixture, which takes any models"
        raise Unsupported(f"cannot be mixed: {error}", field=model.name, hint=hint) from None


def _top(wanted: int | None, experts: int, level: str) -> int:
    if wanted is not None and wanted > experts:
        raise BadParameter(f"{wanted} of {experts} experts", field="top_k", hint=f"a whole number up to {experts}")
    if wanted not in (None, 1) and level != "ffn":
        hint = "top_k: 1, or level: ffn; every expert would need a cache of its own"
        raise BadParameter(f"level {level} takes one expert", field="top_k", hint=hint)
    return wanted or (2 if experts >= 4 and level == "ffn" else 1)
