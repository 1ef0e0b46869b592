"""Many mixtures of adapters in one forward pass: the base's weights are shared, each row has its own coefficients.

Where enough is read to repay it, and little memory is needed, the particles' matrices are filled first; else a particle
costs no copy of weights (see `mixed_linear`). Equal to the materialised model up to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from consort.core.types import Completion, Prompt, Sampling
from consort.models.base import Session
from consort.models.decoding.decode import completion_of, decode, rows_of
from consort.models.hf.lean_pass import LeanModule, NotLean
from consort.models.hf.lean_session import LeanSession
from consort.models.hf.model import HFModel
from consort.models.hf.packing import Place
from consort.models.token_model import TokenModel
from consort.search.packed.linear import MixedLinear, Mixture
from consort.weights.adapters.changes import Changes, LowRank
from consort.weights.checkpoint import Checkpoint

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
OWN_BYTES, CACHE_BYTES = 2**28, 2**28
"""How much memory the matrices of particles may take, and the keys and values of a batch larger than a plain one."""
PORTION = 1024
"""How many tokens go through the layers at a time on a CPU, whose caches they fit."""


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
        self.mixed: list[MixedLinear] = []
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
        self.mixture.filled = frozenset()  # the memory of their matrices is written anew

    def prepare(self, owners: Sequence[int], tokens: int) -> None:
        """Fill the matrices of these particles if they are small and so many tokens are worth it, on a CPU.

        By low rank r a token costs r (inputs + outputs), a matrix r inputs outputs. A GPU prefers few large products.
        """
        needed, filled = frozenset(owners), self.mixture.filled
        size = sum(m.weight.numel() * m.weight.element_size() for m in self.mixed)
        narrowest = max((min(m.weight.shape) for m in self.mixed), default=0)
        kept = needed if len(needed | filled) * size > OWN_BYTES else needed | filled
        small = len(kept) * size <= OWN_BYTES and self.base.device.type == "cpu"
        if small and tokens >= len(needed - filled) * narrowest:
            self._fill(kept)

    def _fill(self, particles: Collection[int]) -> None:
        for linear in self.mixed:
            linear.fill(particles, self.mixture.filled)
        self.mixture.filled = frozenset(particles)

    @property
    def batch_tokens(self) -> int:
        """How many tokens a batch may have: as many as with a plain model, or more if the cache stays small."""
        values = 2 * len(self.lean.layers) * self.lean.groups * self.lean.size
        fitting: int = CACHE_BYTES // (values * self.lean.embedding.element_size())
        return max(self.base.batch_tokens, fitting)

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
        self.mixed.append(MixedLinear(getattr(owner, attribute), a, b, self.mixture, layout, experts))
        setattr(owner, attribute, self.mixed[-1])

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
        """One completion for each prompt, equal to what the particle's own model gives."""
        rows = rows_of(self.pack.base, prompts, sampling, self.owners)
        for batch in self._batches([len(row.prompt) + min(row.limit, EXPECTED) for row in rows]):
            model = Mixed(self.pack, [self.owners[i] for i in batch])
            decode(model, [rows[i] for i in batch], sampling)
        return [completion_of(self.pack.base, row) for row in rows]

    def _batches(self, sizes: Sequence[int]) -> Iterator[list[int]]:
        """As `decode.batches`, particle by particle, so that a particle's matrices are used by many rows at once."""
        group: list[int] = []
        longest = 0
        for i in sorted(range(len(sizes)), key=lambda i: (self.owners[i], -sizes[i])):
            longest = max(longest, sizes[i])
            if group and (len(group) + 1) * longest > self.pack.batch_tokens:
                yield group
                group, longest = [], sizes[i]
            group.append(i)
        if group:
            yield group


class MixedSession(LeanSession):
    """A lean session whose rows belong to particles."""

    def __init__(self, pack: PackedLora, owners: Sequence[int]) -> None:
        super().__init__(pack.base, pack.lean, len(owners))
        self.pack, self.owners = pack, list(owners)
        if pack.base.device.type == "cpu":
            self.portion = PORTION

    def feed(self, tokens: Sequence[Sequence[int]], *, last: bool = False) -> list[Float[Tensor, "new vocab"]]:
        if not any(self.lengths):
            self.pack.prepare(self.owners, sum(map(len, tokens)))
        return super().feed(tokens, last=last)

    def select(self, rows: Sequence[int]) -> MixedSession:
        super().select(rows)
        self.owners = [self.owners[row] for row in rows]
        return self

    def _place(
        self,
        tokens: Sequence[Sequence[int]],
        rows: slice = slice(None),
        depths: Sequence[Sequence[int]] | None = None,
        parents: Sequence[Sequence[int]] | None = None,
    ) -> Place:
        place = super()._place(tokens, rows, depths, parents)
        self.pack.mixture.at(self.owners[rows], place.counts)
        return place
