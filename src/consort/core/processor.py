"""Which processor this is: what is chosen or compiled for one is not taken over by another."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path


@cache
def processor() -> str:
    """What distinguishes this processor from others."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:  # not Linux
        return f"{platform.machine()} {platform.processor()}"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "CPU part", "flags"))]
    return " ".join([platform.machine(), *dict.fromkeys(names)])
