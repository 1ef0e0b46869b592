"""What the plan stage says a merge needs: it holds, and what is above the limit is refused before anything is read."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from consort.core.errors import BadParameter
from consort.merge import merge
from consort.merge.engine.estimate import check_memory, estimate
from consort.weights.checkpoint import Memory

LINEAR = "model.layers.0.mlp.up_proj.weight"


class Unread(Memory):
    """Headers alone."""

    def read_into(self, name, start, stop, out):
        raise AssertionError(f"{name} was read")


def large(name):
    return Unread({LINEAR: torch.empty(4096, 2048, dtype=torch.bfloat16)}, {}, name=name)


def test_what_needs_more_is_refused_unread_and_told_how_it_fits():
    spectral = merge("tsv_m", [large("a"), large("b")], base=large("o"))
    one, two = (estimate(spectral, threads=n)["memory_bytes"] for n in (1, 2))
    check_memory(spectral, two, threads=2)
    with pytest.raises(BadParameter, match=f"needs {two / 1e6:.0f} MB with 2 threads") as fewer:
        check_memory(spectral, two - 1, threads=2)
    assert fewer.value.hint == "--threads 1"
    with pytest.raises(BadParameter) as never:
        check_memory(spectral, one - 1, threads=2)
    assert "ties" in never.value.hint and f"{one / 1e6:.0f} MB with one thread" in never.value.hint
    check_memory(merge("ties", [large("a"), large("b")], base=large("o")), one - 1, threads=2)


def test_decomposing_takes_longer_than_reading():
    """4,096 x 2,048: by hand 0.5e-9 x 2 inputs x 8.4e6 entries x 2,048 rows, in core seconds."""
    models, base = [large("a"), large("b")], large("o")
    spectral, plain = (estimate(merge(name, models, base=base), threads=1)["seconds"] for name in ("tsv_m", "ties"))
    assert spectral - plain == pytest.approx(0.5e-9 * 2 * 4096 * 2048 * 2048, abs=0.3) and spectral > 10 * plain


MEASURED = """
import resource, sys, torch
from consort.merge import merge
from consort.merge.engine.estimate import estimate
from consort.weights.checkpoint import Memory
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
def made(name):
    return Memory({sys.argv[2]: torch.randn(1536, 1536, generator=generator).bfloat16()}, {}, name=name)
merged = merge(sys.argv[1], [made("a"), made("b")], base=made("o"))
merged[sys.argv[2]]
print(estimate(merged, threads=1)["memory_bytes"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize("method", ["tsv_m", "iso_c", "iso_cts", "wudi", "actmerge", "knots", "dc_merge", "ace"])
def test_the_bound_holds(method):
    shown = subprocess.run([sys.executable, "-c", MEASURED, method, LINEAR], capture_output=True, text=True, check=True)
    bound, peak = map(int, shown.stdout.split())
    assert peak <= bound
