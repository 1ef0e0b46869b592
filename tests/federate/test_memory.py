"""The server's memory does not grow with the number of clients."""

from __future__ import annotations

import subprocess
import sys

import pytest

PEAK = """
import resource, sys, tempfile
from pathlib import Path
import torch
from consort.federate import Federation, Update
from consort.federate.clients.client import CallableClient
start = {f"t{i}": torch.zeros(1024, 128) for i in range(8)}  # 4 MB
def fit(name):
    return CallableClient(name, lambda s, t: Update(name, {n: v + 1 for n, v in s.items()}))
with tempfile.TemporaryDirectory() as folder:
    Federation(start, [fit(f"c{i}") for i in range(int(sys.argv[1]))], folder=Path(folder)).run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_a_hundred_clients_of_four_megabytes() -> None:
    few, many = (
        float(subprocess.run([sys.executable, "-c", PEAK, n], capture_output=True, text=True, check=True).stdout)
        for n in ("5", "100")
    )
    assert many <= few + 20 and many <= 300
