"""The floating dtypes in which weights are held, computed and written, by name: one table for the whole project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from consort.core.errors import BadParameter, did_you_mean

if TYPE_CHECKING:
    import torch

FloatName = Literal["float32", "float64", "bfloat16", "float16"]
"""What a parameter that names a dtype is declared as."""

FLOATS: tuple[str, ...] = get_args(FloatName)


def torch_dtype(name: str, *, field: str = "dtype") -> torch.dtype:
    """The dtype of a name. Raises BadParameter, naming `field`, for a name that is none of `FLOATS`.

    >>> torch_dtype("bfloat16")
    torch.bfloat16
    """
    import torch

    if name not in FLOATS:
        hint = did_you_mean(name, FLOATS) or f"one of {', '.join(FLOATS)}"
        raise BadParameter(f"{name!r} is no dtype", field=field, hint=hint)
    found: torch.dtype = getattr(torch, name)
    return found


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype, as config files write it.

    >>> dtype_name(torch_dtype("float16"))
    'float16'
    """
    return str(dtype).removeprefix("torch.")
