"""What passes between a server and its clients: named tensors, and what a client says of how it got them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from consort.core.errors import BadData
from consort.core.files import write_atomic

State = Mapping[str, Tensor]
"""Trainable tensors by name (LoRA factors in peft's names, soft prompts, weights), float32; residuals beside them."""
Memory = Mapping[str, Tensor]
"""What a server keeps between rounds, as `ROLE/NAME`; `told/NAME` are figures of the round alone."""

RESIDUAL = ".residual"
"""End of the name of a change of a frozen weight, which clients read and do not train."""
TOLD = "told/"


@dataclass(frozen=True, slots=True)
class Update:
    """What a client made of a state: `state` are its own tensors after training (not their difference).

    `samples` are its examples, `steps` the updates it made at the mean learning rate `lr`; `aux` are further tensors
    that its rule sends; `metrics` numbers about the training ("loss": mean loss in nats at the state it was given).
    """

    client: str
    state: State
    samples: int = 1
    steps: int = 1
    lr: float = 1.0
    aux: State = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


class FileState(Mapping[str, Tensor]):
    """A state in a safetensors file, one tensor read at a time: many clients need no more memory than one.

    `prefix` chooses the tensors whose names begin with it. Raises BadData for a file that is none.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self.path, self.prefix = path, prefix
        try:
            with safe_open(path, framework="pt") as file:
                self._names = [n.removeprefix(prefix) for n in file.keys() if n.startswith(prefix)]
        except (SafetensorError, OSError, ValueError) as error:
            raise BadData(f"not a safetensors file: {error}", field=path.name, hint="send tensors alone") from None

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self.path, framework="pt") as file:
            found: Tensor = file.get_tensor(self.prefix + name)
        return found

    def entries(self, name: str, start: int, stop: int) -> Tensor:
        """Entries [start, stop) of the flat tensor; no more than the rows they lie in is read."""
        with safe_open(self.path, framework="pt") as file:
            part = file.get_slice(self.prefix + name)
            shape = part.get_shape()
            if not shape:
                return self[name].reshape(-1)[start:stop]
            row = max(1, math.prod(shape[1:]))
            first, last = start // row, -(-stop // row)
            rows: Tensor = part[first:last]
        return rows.reshape(-1)[start - first * row : stop - first * row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def entries(state: State, name: str, start: int, stop: int) -> Tensor:
    """Entries [start, stop) of a flat tensor, wherever it lies."""
    return state.entries(name, start, stop) if isinstance(state, FileState) else state[name].reshape(-1)[start:stop]


def trained_names(state: State) -> list[str]:
    """The names that clients train and send back, sorted."""
    return sorted(name for name in state if not name.endswith(RESIDUAL))


def packed(state: State) -> bytes:
    """The tensors as one safetensors document, names in order."""
    found: bytes = save({name: state[name].detach().contiguous() for name in sorted(state)})
    return found


def write_state(path: Path, state: State) -> None:
    """Write a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, packed(state))


def read_state(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """All tensors of a file in memory."""
    return dict(FileState(path, prefix))


def joined(**parts: State) -> dict[str, Tensor]:
    """Several states in one, each under its own prefix."""
    return {f"{prefix}/{name}": tensor for prefix, state in parts.items() for name, tensor in state.items()}


def split_off(memory: Memory, role: str) -> dict[str, Tensor]:
    """The tensors of one role of a memory."""
    return {name.removeprefix(f"{role}/"): memory[name] for name in memory if name.startswith(f"{role}/")}


def hash_of(state: State) -> str:
    """A hash (16 hexadecimal digits) of names, types, shapes and every bit."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(state):
        tensor = state[name].detach().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def difference_norm(state: State, base: State, names: Sequence[str]) -> float:
    """The Euclidean norm of the difference of two states, in float64; infinite or nan where an entry is."""
    squares = [float((state[n].double() - base[n].double()).square().sum()) for n in names]
    return math.sqrt(sum(squares))


class Drawn(Mapping[str, Tensor]):
    """A state drawn towards a base: base + factor (state - base), each tensor computed when it is read."""

    def __init__(self, state: State, base: State, factor: float) -> None:
        self.state, self.base, self.factor = state, base, factor

    def __getitem__(self, name: str) -> Tensor:
        base = self.base[name].double()
        return (base + self.factor * (self.state[name].double() - base)).to(self.base[name].dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __len__(self) -> int:
        return len(self.state)


def clipped(state: State, base: State, norm: float, names: Sequence[str]) -> State:
    """The state, its distance from the base over `names` no more than `norm`."""
    moved = difference_norm(state, base, names)
    return state if moved <= norm else Drawn(state, base, norm / moved)
