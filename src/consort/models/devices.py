"""On which device a model works."""

from __future__ import annotations

import torch

from consort.core.errors import BadParameter


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
