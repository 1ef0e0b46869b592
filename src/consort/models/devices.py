"""On which device a model works, and whether it may be spread over several."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import torch

from consort.core.errors import BadParameter, MissingExtra

DeviceMap = str | Mapping[str, int | str | torch.device]
"""As accelerate takes it: "auto", "balanced", "sequential", or the device of each part of the module by name."""


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device of a name: cpu, cuda, cuda:1, mps; None is the first GPU of CUDA if there is one, else the CPU.

    Raises BadParameter for a name that is none, or a device that this machine has not.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise BadParameter(f"{str(device)!r} is no device", field="device", hint=f"one of {_present()}") from None
    if not _is_present(found):
        raise BadParameter(f"there is no {found} here", field="device", hint=f"here there is {_present()}")
    return found


def check_device_map(device_map: DeviceMap, device: str | torch.device | None) -> None:
    """Raise BadParameter if a device is named too, MissingExtra without accelerate."""
    if device is not None:
        raise BadParameter("says where the model goes, as device does", field="device_map", hint="give one of the two")
    if find_spec("accelerate") is None:
        hint = 'pip install accelerate (it comes with "consort[train]"), or give device'
        raise MissingExtra("a model is spread over devices by accelerate", field="device_map", hint=hint)


def _is_present(device: torch.device) -> bool:
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type in ("cpu", "meta")


def _present() -> str:
    """The devices of this machine, for a hint."""
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ", ".join(["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])])
