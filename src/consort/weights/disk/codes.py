"""The dtypes of safetensors files by name; importing this imports no torch."""

from __future__ import annotations

TORCH_NAMES = (
    {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
    | {"I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn"}
    | {"F8_E5M2": "float8_e5m2", "U16": "uint16", "U32": "uint32", "U64": "uint64", "C64": "complex64"}
)
"""The dtypes that can be read, as torch calls them."""
