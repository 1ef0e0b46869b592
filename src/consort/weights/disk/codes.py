"""The dtypes of safetensors files by their codes. Imports no torch."""

from __future__ import annotations

BITS = (
    {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8}
    | {"F8_E5M2FNUZ": 8, "F8_E4M3FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32}
    | {"F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}
)
"""Every dtype of the format, with the bits of one entry."""

TORCH_NAMES = (
    {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
    | {"I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn"}
    | {"F8_E5M2": "float8_e5m2", "U16": "uint16", "U32": "uint32", "U64": "uint64", "C64": "complex64"}
)
"""The dtypes that can be read, as torch calls them."""
