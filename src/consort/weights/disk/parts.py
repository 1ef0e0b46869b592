"""One of n disjoint shares of a checkpoint's tensors, written by itself; all of them joined to what one run writes.

A part is a folder beside the output, `OUT.part-2-of-3`, whose config.json says of what it is a part: of which plan over
which inputs. Parts may be written at any time on any machine that reads the inputs; joining reads no input's tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from consort.core.errors import BadCheckpoint, BadParameter, Incompatible, listing
from consort.core.journal import key_of
from consort.weights.checkpoint import Checkpoint, Spec, leaves, no_tensor, read_many, whole
from consort.weights.disk.card import without_paths
from consort.weights.disk.folder import Folder, open_folder
from consort.weights.stats import fingerprint

MODEL_TYPE = "consort_part"


def read_part(text: str) -> tuple[int, int]:
    """The number and the count of "2/3". Raises BadParameter.

    >>> read_part("2/3")
    (2, 3)
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise BadParameter(f"{text!r} is no part", field="--part", hint="2/3 is the second of three")
    return int(found[1]), int(found[2])


def part_folder(out: Path, number: int, count: int) -> Path:
    """Where a part of the output lies."""
    return out.with_name(f"{out.name}.part-{number}-of-{count}")


def parts_beside(out: Path) -> list[Path]:
    """The folders of all parts of an output, by number. Raises BadParameter where one is missing, or counts differ."""
    found: dict[int, dict[int, Path]] = {}
    for path in out.parent.glob(f"{_plain(out.name)}.part-*-of-*"):
        said = re.fullmatch(r".*\.part-(\d+)-of-(\d+)", path.name)
        if said and path.is_dir():
            found.setdefault(int(said[2]), {})[int(said[1])] = path
    if len(found) != 1:
        what = "parts of different counts" if found else "no part"
        hint = (
            "write each with --part 1/3, --part 2/3, …" if not found else f"remove those that are not of {min(found)}"
        )
        raise BadParameter(f"{what} beside {out.name}", field="--join", hint=hint)
    [(count, parts)] = found.items()
    missing = [str(number) for number in range(1, count + 1) if number not in parts]
    if missing:
        hint = f"write it with --part {missing[0]}/{count}"
        raise BadParameter(f"part {', '.join(missing)} of {count} is missing", field="--join", hint=hint)
    return [parts[number] for number in range(1, count + 1)]


def _plain(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def work_of(ckpt: Checkpoint, plan: Any, seed: int) -> str:
    """Names what is computed: the plan, its seed, and the inputs by a sample of their content, wherever they lie."""
    return key_of(["part", without_paths(plan), seed, [fingerprint(leaf) for leaf in leaves(ckpt)]])


class PartOf:
    """The tensors of one part: as many bytes as every other part's, as nearly as whole tensors allow."""

    def __init__(self, ckpt: Checkpoint, number: int, count: int, work: str) -> None:
        self.ckpt, self.name = ckpt, f"{ckpt.name}, part {number} of {count}"
        self.config: Mapping[str, Any] = {"model_type": MODEL_TYPE, "part": number, "of": count, "work": work}
        specs = {name: ckpt.spec(name) for name in ckpt.keys()}
        total, done = sum(spec.nbytes for spec in specs.values()) or 1, 0
        self._names: list[str] = []
        for name, spec in specs.items():
            if min(done * count // total, count - 1) == number - 1:
                self._names.append(name)
            done += spec.nbytes

    @property
    def inputs(self) -> Sequence[Checkpoint]:
        return (self.ckpt,)

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._names)

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self.ckpt.spec(name)

    def __getitem__(self, name: str) -> Tensor:
        return self.ckpt[name]

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        self.ckpt.read_into(name, start, stop, out)

    def read_many(self, names: Sequence[str], out: Tensor) -> None:
        read_many(self.ckpt, names, out)

    def files(self) -> Mapping[str, Path | bytes]:
        return {}


class Joined:
    """A checkpoint whose tensors are read from the parts that were written of it.

    Raises Incompatible for parts of other work, BadCheckpoint where they are not all of its tensors, once each.
    """

    def __init__(self, ckpt: Checkpoint, folders: Sequence[Path], work: str) -> None:
        self.ckpt, self.name, self.config, self.inputs = ckpt, ckpt.name, ckpt.config, ckpt.inputs
        self._home: dict[str, Folder] = {}
        for number, folder in enumerate(folders, 1):
            part = open_folder(folder)
            said = part.config
            if (said.get("model_type"), said.get("part"), said.get("of")) != (MODEL_TYPE, number, len(folders)):
                hint = "write it again with --part"
                raise BadCheckpoint(f"is not part {number} of {len(folders)}", field=str(folder), hint=hint)
            if said.get("work") != work:
                hint = "write all parts with the plan, the seed and the inputs that they are joined with"
                raise Incompatible("is a part of other work", field=str(folder), hint=hint)
            self._home |= dict.fromkeys(part.keys(), part)
        wrong = set(ckpt.keys()) ^ set(self._home)
        if wrong:
            raise BadCheckpoint(f"the parts lack or add {listing(sorted(wrong), 3)}", hint="write the parts again")

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return self.ckpt.keys()

    def spec(self, name: str) -> Spec:
        """Shape and dtype of a tensor, without reading it."""
        return self.ckpt.spec(name)

    def __getitem__(self, name: str) -> Tensor:
        return whole(self, name)

    def read_into(self, name: str, start: int, stop: int, out: Tensor) -> None:
        if name not in self._home:
            raise no_tensor(self, name)
        self._home[name].read_into(name, start, stop, out)

    def files(self) -> Mapping[str, Path | bytes]:
        return self.ckpt.files()
