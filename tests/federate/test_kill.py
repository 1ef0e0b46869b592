"""Killed at any moment and run again, a federation ends with the same bits."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from consort.federate import Federation
from consort.federate.clients.client import LocalClient
from consort.federate.rounds import Rounds

HERE = Path(__file__).parent


@pytest.fixture
def wanted(start, quadratic):
    own = [LocalClient(f"c{i}", quadratic(1 + i, i / 2, samples=i + 1)) for i in range(3)]
    return Federation(start, own, "scaffold", Rounds(rounds=4)).run().hash


def hashes(way: str, folder: Path, moments) -> list[str]:
    command = [sys.executable, str(HERE / "kill_script.py"), way, str(folder), *map(str, moments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, cwd=HERE, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_at_twenty_moments(tmp_path, wanted) -> None:
    """Client, upload, memory, aggregation, state and journal come round every eleven moments or so."""
    moments = random.Random(0).sample(range(2, 46), 20)
    assert hashes("here", tmp_path, moments) == [wanted] * 20


@pytest.mark.parametrize("moments", [[4, 9]])
def test_killed_servers_and_clients_over_http(tmp_path, wanted, moments) -> None:
    assert hashes("http", tmp_path, moments) == [wanted] * len(moments)


@pytest.mark.slow
def test_killed_at_twenty_moments_over_http(tmp_path, wanted) -> None:
    moments = range(4, 24)
    assert hashes("http", tmp_path, moments) == [wanted] * len(moments)
