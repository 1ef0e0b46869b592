"""A Hugging Face model folder as a checkpoint: safetensors only, everything checked before a tensor is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from consort.core.binding import described
from consort.core.files import sha256_of
from consort.weights.checkpoint import Checkpoint, Spec, no_tensor, whole
from consort.weights.disk.beside import files_beside
from consort.weights.disk.config_check import check_config
from consort.weights.disk.folder_check import (
    BESIDE,
    CONFIG,
    INDEX,
    SINGLE,
    check_directory,
    label,
    read_config,
    read_headers,
)
from consort.weights.disk.paths import present
from consort.weights.disk.shards import Shards


class Folder:
    """The checkpoint in a folder; read and checked on first use, or at once by `open_folder`.

    Open handles end with `close`, with the `with` block, or with the object.
    """

    __repr__ = described

    def __init__(self, path: str | Path, *, allow_remote_code: bool = False) -> None:
        self.path = Path(path)
        self.name, self.revision = label(self.path)
        self.allow_remote_code = allow_remote_code
        self.inputs: tuple[Checkpoint, ...] = ()

    @cached_property
    def config(self) -> Mapping[str, Any]:
        return read_config(self.path, allow_remote_code=self.allow_remote_code)

    @cached_property
    def shards(self) -> Shards:
        """The checked files that hold the tensors."""
        return Shards(read_headers(self.path, SINGLE, INDEX))

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return self.shards.keys()

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        if name not in self.shards:
            raise no_tensor(self, name)
        return self.shards.spec(name)

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name not in self.shards:
            raise no_tensor(self, name)
        self.shards.read_into(name, start, stop, out)

    def read_many(self, names: Sequence[str], out: Tensor) -> None:
        for name in names:
            if name not in self.shards:
                raise no_tensor(self, name)
        self.shards.read_many(names, out)

    def files(self) -> Mapping[str, Path | bytes]:
        code = tuple(file.name for file in sorted(self.path.glob("*.py"))) if self.allow_remote_code else ()
        return files_beside(self.path, (*BESIDE, *code), allow_remote_code=self.allow_remote_code)

    def describe(self, *, content: bool = False) -> dict[str, Any]:
        """What identifies this model, without any path; with `content` also SHA-256 of the whole weight files."""
        found = present(self.path, (CONFIG, *BESIDE))
        return describe_files(self.name, self.revision, self.shards, found, content=content)

    def stamp(self) -> list[Any]:
        """Changes whenever a file of weights or the configuration does: size, time and header of each."""
        return [[path.name, *header.identity[2:], header.digest] for path, header in self.shards.headers.items()]

    def close(self) -> None:
        """Close the files."""
        if "shards" in self.__dict__:
            self.shards.close()

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_folder(path: str | Path, *, allow_remote_code: bool = False) -> Folder:
    """The checkpoint in a folder, its configuration, index and headers checked now; no tensor is read.

    Raises BadCheckpoint naming the file at fault, Unsupported for a quantised model.
    """
    folder = Folder(path, allow_remote_code=allow_remote_code)
    check_directory(folder.path)
    folder.shards  # noqa: B018  (reads and checks; first, so that a folder of pickles is called that)
    shapes = {name: folder.spec(name).shape for name in folder.keys()}
    check_config(folder.config, shapes, str(folder.path / CONFIG))
    return folder


def describe_files(
    name: str, revision: str | None, shards: Shards, found: Mapping[str, Path], *, content: bool
) -> dict[str, Any]:
    """A manifest's entry for one input. No path in it is absolute."""
    extents = [extent for header in shards.headers.values() for extent in header.tensors.values()]
    hashes = {file: sha256_of(path) for file, path in found.items()}
    hashes |= {f"{path.name} header": header.digest for path, header in shards.headers.items()}
    if content:
        hashes |= {path.name: sha256_of(path) for path in shards.headers}
    return {
        "name": name,
        **({"revision": revision} if revision else {}),
        "bytes": sum(header.nbytes for header in shards.headers.values()),
        "tensors": len(extents),
        "dtype": sorted({str(extent.spec.dtype).removeprefix("torch.") for extent in extents}),
        "sha256": hashes,
    }
