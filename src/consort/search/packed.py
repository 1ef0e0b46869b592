"""Many mixtures of adapters in one forward pass: the base's weights are shared, each row has its own coefficients.

The factors of all experts lie stacked. For a row with coefficients c a module gives W x + sum_i c_i s_i B_i A_i x
("exact"), or W x + s (sum_i c_i B_i)(sum_j c_j A_j) x ("factor"), so a particle costs neither a copy of weights nor a
load. Equal to the materialised model up to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from consort.core.types import Completion, Prompt, Sampling
from consort.models.base import Session, TokenModel
from consort.models.decode import batches, generate, rows_of
from consort.models.hf import HFModel
from consort.models.lean import LeanModule, Linear, NotLean, Place
from consort.models.lean_session import LeanSession
from consort.weights.checkpoint import Checkpoint
from consort.weights.lora_changes import Changes, LowRank

Form = Literal["exact", "factor"]
PARTS = {
    "self_attn.q_proj": "query",
    "self_attn.k_proj": "key",
    "self_attn.v_proj": "value",
    "self_attn.o_proj": "out",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
"""What a decoder layer's modules are called in `lean.Layer`."""
EXPECTED = 256
"""Batches are cut as if answers had at most this many tokens, as when a plain model decodes."""


@dataclass(slots=True)
class Mixture:
    """Coefficients of the particles, and those of the tokens of the current pass by layout of ranks."""

    points: Float[Tensor, "particle expert"]
    layouts: list[Int[Tensor, " rank"]] = field(default_factory=list)
    now: list[Float[Tensor, "token rank"]] = field(default_factory=list)

    def at(self, owners: Int[Tensor, " token"]) -> None:
        """From now on token t belongs to particle owners[t]."""
        own = self.points[owners]
        self.now = [own[:, layout] for layout in self.layouts]

    def layout(self, experts: Sequence[int]) -> int:
        """The number of a layout: which expert each stacked rank belongs to."""
        wanted = torch.tensor(experts, device=self.points.device)
        for number, known in enumerate(self.layouts):
            if torch.equal(known, wanted):
                return number
        self.layouts.append(wanted)
        return len(self.layouts) - 1


@dataclass(slots=True)
class MixedLinear:
    """A matrix with the stacked factors of all experts, scales folded into `b`. It stands in for `lean.Linear`.

    `experts` is how many experts share the rank in form "factor", 0 in form "exact".
    """

    linear: Linear
    a: Float[Tensor, "rank inputs"]
    b: Float[Tensor, "outputs rank"]
    mixture: Mixture
    layout: int
    experts: int

    @property
    def weight(self) -> Tensor:
        return self.linear.weight

    def __call__(self, x: Float[Tensor, "token inputs"]) -> Float[Tensor, "token outputs"]:
        return self.linear(x).addmm_(self._inner(x), self.b.t())

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        return self.linear.onto(total, x).addmm_(self._inner(x), self.b.t())

    def _inner(self, x: Float[Tensor, "token inputs"]) -> Float[Tensor, "token rank"]:
        """What B is multiplied with."""
        mixed = F.linear(x, self.a).mul_(self.mixture.now[self.layout])
        if not self.experts:
            return mixed
        summed = mixed.view(len(x), self.experts, -1).sum(1)  # (sum_j c_j A_j) x
        return summed.repeat(1, self.experts).mul_(self.mixture.now[self.layout])


class PackedLora:
    """A base model and adapters, ready to be mixed. Raises NotLean where only materialised models can do it.

    `coefficients` are set by `assign`; `of(i)` is the model of particle i, `rows(owners)` one for a batch of several.
    """

    def __init__(
        self, base: HFModel, adapters: Sequence[Checkpoint], changes: Sequence[Changes], form: Form = "exact"
    ) -> None:
        self.base, self.form, self.count = base, form, len(adapters)
        self.lean = LeanModule(base.module)
        self.mixture = Mixture(torch.zeros(0, len(adapters), device=base.device))
        for found in changes:
            if (
                found.replaced
                or found.head_of
                or any(c.embedding or c.norm or c.transposed for c in found.low_rank.values())
            ):
                raise NotLean("an adapter changes more than linear layers by low rank")
        for name in dict.fromkeys(name for found in changes for name in found.low_rank):
            having = [
                (i, a, c.low_rank[name])
                for i, (a, c) in enumerate(zip(adapters, changes, strict=True))
                if name in c.low_rank
            ]
            self._stack(name, having)

    def assign(self, points: Float[Tensor, "particle expert"]) -> None:
        """The coefficients of particles 0, 1, …; one for each adapter."""
        self.mixture.points = points.to(self.base.device, torch.float32)

    def of(self, particle: int) -> TokenModel:
        """The model of one particle."""
        return Mixed(self, particle)

    def rows(self, owners: Sequence[int]) -> Owned:
        """A model whose prompt number r is answered by particle owners[r]."""
        return Owned(self, tuple(owners))

    def _stack(self, name: str, having: Sequence[tuple[int, Checkpoint, LowRank]]) -> None:
        module = name.removesuffix(".weight")
        a = torch.cat([adapter[change.a].float() for _, adapter, change in having])
        b = torch.cat([adapter[change.b].float() * change.scale for _, adapter, change in having], dim=1)
        layout = self.mixture.layout([i for i, _, change in having for _ in range(change.rank)])
        owner, attribute = self._place_of(module)
        experts = len(having) if self.form == "factor" else 0
        a, b = a.to(self.base.device), b.to(self.base.device)
        setattr(owner, attribute, MixedLinear(getattr(owner, attribute), a, b, self.mixture, layout, experts))

    def _place_of(self, module: str) -> tuple[Any, str]:
        # the head is no such place: it reads only the last token of each row, so its rows are not those of the pass
        head, _, rest = module.partition("model.layers.")
        number, _, part = rest.partition(".")
        if head or not number.isdigit() or part not in PARTS:
            raise NotLean(f"{module} is no linear layer of a decoder")
        return self.lean.layers[int(number)], PARTS[part]


class Mixed(TokenModel):
    """The model of one particle, or of several: row r of what is opened belongs to owners[r]."""

    def __init__(self, pack: PackedLora, owners: int | Sequence[int]) -> None:
        self.pack, self.owners = pack, owners
        base = pack.base
        self.name, self.tokenizer, self.window = base.name, base.tokenizer, base.window
        self.batch_tokens = base.batch_tokens if isinstance(owners, int) else 2**60

    @property
    def ends(self) -> frozenset[int]:
        return self.pack.base.ends

    def open(self, batch: int = 1) -> Session:
        owners = [self.owners] * batch if isinstance(self.owners, int) else list(self.owners)
        return MixedSession(self.pack, owners)


class Owned:
    """Answers prompts of several particles together."""

    def __init__(self, pack: PackedLora, owners: Sequence[int]) -> None:
        self.pack, self.owners, self.name = pack, owners, pack.base.name

    def of_rows(self, rows: Sequence[int]) -> Owned:
        """The same for some of the prompts."""
        return Owned(self.pack, [self.owners[row] for row in rows])

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling = Sampling()) -> list[Completion]:
        """Batches in the order in which decoding takes them, so that the rows of a session are known beforehand."""
        base, found = self.pack.base, {}
        sizes = [len(row.prompt) + min(row.limit, EXPECTED) for row in rows_of(base, prompts, sampling)]
        for batch in batches(sizes, base.batch_tokens):
            model = Mixed(self.pack, [self.owners[i] for i in batch])
            answers = generate(model, [prompts[i] for i in batch], sampling.of_rows(batch))
            found.update(zip(batch, answers, strict=True))
        return [found[i] for i in range(len(prompts))]


class MixedSession(LeanSession):
    """A lean session whose rows belong to particles."""

    def __init__(self, pack: PackedLora, owners: Sequence[int]) -> None:
        super().__init__(pack.base, pack.lean, len(owners))
        self.mixture, self.owners = pack.mixture, torch.tensor(owners, device=pack.base.device)

    def select(self, rows: Sequence[int]) -> MixedSession:
        super().select(rows)
        self.owners = self.owners[torch.tensor(rows, dtype=torch.long, device=self.owners.device)]
        return self

    def _place(
        self,
        tokens: Sequence[Sequence[int]],
        depths: Sequence[Sequence[int]] | None = None,
        parents: Sequence[Sequence[int]] | None = None,
    ) -> Place:
        place = super()._place(tokens, depths, parents)
        self.mixture.at(self.owners[place.rows])
        return place
