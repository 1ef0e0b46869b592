"""The reader as an encoder: the same weights, with low-rank deltas (LoRA) that are on while a context is encoded.

The copy shares every weight with the reader, whose module is left untouched: LoRA stands in the copy alone, so what
decodes is the frozen reader (ICAE, 2307.06945: on while encoding, off while decoding).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from consort.core.errors import BadCheckpoint, Incompatible, Unsupported
from consort.train.lora import Lora, LoraLinear, attach_lora
from consort.weights.adapters.files import factor_keys

METADATA = "soft_prompt"
"""The entry of a file's metadata that tells what it is, as JSON."""


def reader_hash(module: nn.Module) -> str:
    """SHA-256 of a module's weights, by name, in their own dtype."""
    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_reader(model: Any, owner: str) -> Any:
    """A single local causal model of transformers; else Unsupported."""
    module = getattr(model, "module", None)
    if module is None or not hasattr(module, "get_input_embeddings"):
        hint = "a folder in Hugging Face's layout, or lab:NAME"
        name = getattr(model, "name", str(model))
        raise Unsupported(f"{name} is not a single local model of transformers", field=f"{owner}.model", hint=hint)
    return model


def embeddings_of(module: Any) -> nn.Embedding:
    """The table that a module reads tokens with."""
    found: nn.Embedding = module.get_input_embeddings()
    return found


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within the block no weight of a module asks for gradients."""
    wanted = [(p, p.requires_grad) for p in module.parameters()]
    module.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, asks in wanted:
            parameter.requires_grad_(asks)


class Encoder(nn.Module):
    """The reader's copy with LoRA, and the added vectors: `added` is `slots size`, drawn around the mean embedding."""

    def __init__(self, reader: nn.Module, added: int, lora: Lora, seed: int) -> None:
        super().__init__()
        shared = {id(tensor): tensor for tensor in [*reader.parameters(), *reader.buffers()]}
        self.module = copy.deepcopy(reader, shared)
        generator = torch.Generator().manual_seed(seed)
        self.lora = lora
        with frozen(reader):
            attach_lora(self.module, lora, generator=generator)
        table = embeddings_of(reader).weight.detach().float()
        noise = torch.randn(added, table.shape[1], generator=generator) * float(table.std())
        self.added = nn.Parameter(table.mean(0).cpu() + noise)
        self.scale = lora.alpha / lora.rank
        for part in self.deltas:
            part.scale = 0.0

    @property
    def deltas(self) -> list[LoraLinear]:
        return [part for part in self.module.modules() if isinstance(part, LoraLinear)]

    @contextmanager
    def switched(self, on: bool | Float[Tensor, "row token 1"]) -> Iterator[Any]:
        """Within the block LoRA is on, off, or on for some of the tokens; the module to call."""
        scale: Any = self.scale * on if isinstance(on, Tensor) else self.scale * float(on)
        for part in self.deltas:
            part.scale = scale
        try:
            yield self.module
        finally:
            for part in self.deltas:
                part.scale = 0.0

    def trained(self) -> list[nn.Parameter]:
        """All that is learned: the deltas and the added vectors."""
        return [self.added, *(p for part in self.deltas for p in (part.lora_A, part.lora_B))]

    def embed(self, tokens: Int[Tensor, "row token"]) -> Float[Tensor, "row token size"]:
        found: Tensor = embeddings_of(self.module)(tokens)
        return found

    def named_deltas(self) -> dict[str, nn.Parameter]:
        """The factors of each delta under peft's names."""
        found = {}
        for name, part in self.module.named_modules():
            if isinstance(part, LoraLinear):
                a, b = factor_keys(name, embedding=False)
                found[a], found[b] = part.lora_A, part.lora_B
        return found

    def save(self, file: Path, *, mode: str, reader: str, facts: Mapping[str, str]) -> None:
        """Only what was added, with the hash of the reader it was learned for."""
        tensors = {name: p.detach().float().contiguous().cpu() for name, p in self.named_deltas().items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(file.name + ".partial")
        told = {"mode": mode, "reader": reader, "rank": str(self.lora.rank), "alpha": str(self.lora.alpha), **facts}
        # one entry: safetensors writes several in no order, and equal training shall give equal bytes
        written = {METADATA: json.dumps(told, sort_keys=True)}
        save_file({"added": self.added.detach().contiguous(), **tensors}, partial, metadata=written)
        partial.replace(file)

    def load(self, tensors: Mapping[str, Tensor], file: str) -> None:
        """Take what `read_state` gave. Raises BadCheckpoint for tensors that are not those of this encoder."""
        hint = "give the slots and the rank that it was learned with"
        put_state({"added": self.added, **self.named_deltas()}, tensors, file, owner="model", hint=hint)


@torch.no_grad()
def put_state(
    parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor], file: str, *, owner: str, hint: str
) -> None:
    """Give parameters the values of a file, by name. Raises BadCheckpoint where names or shapes are not the same."""
    wrong = [name for name, p in parameters.items() if name not in tensors or tensors[name].shape != p.shape]
    if wrong or set(tensors) - set(parameters):
        named = (wrong or sorted(set(tensors) - set(parameters)))[0]
        raise BadCheckpoint(f"{named} is not as this {owner} needs it", field=file, hint=hint)
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])


def read_state(file: str, *, mode: str, reader: str) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """What a file says was learned, and what it tells of it.

    Raises BadCheckpoint for a file that cannot be read or is of another mode, Incompatible for another reader.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            told: dict[str, str] = json.loads((opened.metadata() or {}).get(METADATA, "{}"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    except (OSError, SafetensorError, ValueError) as fault:
        hint = "the file that consort fit wrote"
        raise BadCheckpoint(f"cannot be read as what {mode} has learned", field=file, hint=hint) from fault
    if told.get("mode") != mode:
        raise BadCheckpoint(f"holds what {told.get('mode')} has learned, not {mode}", field=file)
    if told.get("reader") != reader:
        hint = "it is read by the very model it was learned for; learn it again for this one"
        raise Incompatible("was learned for a reader of other weights", field=file, hint=hint)
    return tensors, told


def pad(rows: Sequence[Tensor], value: float = 0.0) -> Tensor:
    """Rows of different lengths as one tensor, filled up at the end."""
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)
