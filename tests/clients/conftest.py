"""Real clients, each in an environment of its own, which a variable names; absent ones are skipped by name."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from consort.server.run import Server
from tests.server.conftest import models


@pytest.fixture(scope="session")
def server():
    with Server(models=models(), port=0) as running:
        yield running


@pytest.fixture
def run(server):
    """Runs one of the scripts beside this file with an environment's Python; what it prints last, as JSON."""

    def call(variable, script, *arguments, url=server.url):
        folder = os.environ.get(variable)
        if not folder:
            pytest.skip(f"{variable} names no environment (a folder with bin/python)")
        python = Path(folder) / "bin" / "python"
        command = [python, "-I", Path(__file__).parent / "scripts" / script, url, *arguments]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OPENAI_API_KEY": "none"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return call
