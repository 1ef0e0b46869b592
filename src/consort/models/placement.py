"""How models are held while they work: in which dtype, on which device, or spread over several; and how chats are
written for them. Imports no torch.

A reference may say it for itself (`{hf: X, dtype: bfloat16, device: cuda:1}`), a caller for a whole block, in which
every model that says nothing of its own is held so: also those that strategies open by themselves.

    with held(dtype="bfloat16"):
        model = consort.model("team.yml")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeVar

from consort.core.dtypes import FLOATS
from consort.core.errors import BadParameter, MissingExtra, did_you_mean

T = TypeVar("T")
AUTO = "auto"
DTYPES = (AUTO, *FLOATS)
"""The files' own, or one by name."""
DEVICE = re.compile(r"cpu|mps|meta|cuda(:\d+)?")
MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
OWN, REQUIRED, NONE = TEMPLATES = ("own", "required", "none")
"""How chats are written: by the model's template, and where it has none as lines (which is told); refused where it has
none; always as lines."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A dtype (a name, or "auto" for the files' own), a device or a map, a template; None leaves it to the default.

    `device_map` is accelerate's: "auto", or the device of each part of the module by name. `template` is one of
    `TEMPLATES`.
    """

    dtype: str | None = None
    device: str | None = None
    device_map: str | Mapping[str, Any] | None = None
    template: str | None = None

    def check(self, at: str = "") -> Placement:
        """The same, or BadParameter for what can be nowhere; `at` is the place before the field. No device is asked."""
        if self.dtype is not None and self.dtype not in DTYPES:
            hint = did_you_mean(str(self.dtype), DTYPES)
            raise BadParameter(f"{self.dtype!r} is no dtype of models", field=f"{at}dtype", hint=hint)
        if self.device is not None and not DEVICE.fullmatch(str(self.device)):
            raise BadParameter(f"{self.device!r} is no device", field=f"{at}device", hint="cpu, cuda, cuda:1 or mps")
        if self.template is not None and self.template not in TEMPLATES:
            hint = " | ".join(TEMPLATES)
            raise BadParameter(f"{self.template!r} is no way to write chats", field=f"{at}template", hint=hint)
        if self.device_map is not None:
            self._check_map(at)
        return self

    def _check_map(self, at: str) -> None:
        field = f"{at}device_map"
        if not isinstance(self.device_map, Mapping) and self.device_map not in MAPS:
            hint = "auto, or {PART: DEVICE} with a device for each part of the model"
            raise BadParameter(f"{self.device_map!r} is no map", field=field, hint=hint)
        if self.device is not None:
            hint = "give one of the two"
            raise BadParameter("says where the model goes, as device does", field=field, hint=hint)
        if find_spec("accelerate") is None:
            hint = 'pip install accelerate (it comes with "consort[train]"), or give device'
            raise MissingExtra("a model is spread over devices by accelerate", field=field, hint=hint)

    def over(self, other: Placement) -> Placement:
        """This one, and of `other` what it leaves open; a device stands in the way of a map, and a map of a device."""
        placed = self if self.device is not None or self.device_map is not None else other
        return Placement(self.dtype or other.dtype, placed.device, placed.device_map, self.template or other.template)

    def to_json(self) -> dict[str, Any]:
        """What is said, as plain values."""
        return {key: value for key, value in asdict(self).items() if value is not None}


OPEN = Placement()
"""Nothing is said."""

_HELD: ContextVar[Placement] = ContextVar("placement", default=OPEN)


def current() -> Placement:
    """How models are held in this block where they say nothing of their own."""
    return _HELD.get()


@contextmanager
def held(
    *,
    dtype: str | None = None,
    device: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    template: str | None = None,
) -> Iterator[None]:
    """Within the block, models that are opened and say nothing of their own are held so.

    Raises BadParameter, MissingExtra for what can be nowhere.

    >>> with consort.held(dtype="bfloat16", device="cpu"):
    ...     consort.model("lab:base").module.dtype
    torch.bfloat16
    """
    placement = Placement(dtype, device, device_map, template).check()
    token = _HELD.set(placement.over(_HELD.get()))
    try:
        yield
    finally:
        _HELD.reset(token)


def carried(make: Callable[[], T]) -> Callable[[], T]:
    """`make` for a worker elsewhere, which holds models as they are held here."""
    return partial(_make, current(), make)


def _make(placement: Placement, make: Callable[[], T]) -> T:
    _HELD.set(placement)
    return make()


def parsed_map(text: str) -> str | Mapping[str, Any]:
    """A map as the command line gives it: a word, or JSON. Raises BadParameter."""
    import json

    if not text.startswith("{"):
        return text
    try:
        found = json.loads(text)
    except ValueError as error:
        hint = """auto, or '{"model.embed_tokens": 0, "model.layers": 1, …}'"""
        raise BadParameter(f"is no JSON: {error}", field="--device-map", hint=hint) from None
    return dict(found)
