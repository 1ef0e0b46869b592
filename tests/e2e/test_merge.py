"""`consort merge` as a program: same tensor bytes for any threads and shards, and after kill -9 and another start."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from consort import lab
from consort.plan.build import build
from consort.plan.expression import parse

TENSORS, ROWS, COLUMNS = 12, 1024, 512


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Three models of 6 M parameters with the config and tokenizer of a bundled one, and a TIES plan over them."""
    folder = tmp_path_factory.mktemp("models")
    config = json.loads((lab.path("base") / "config.json").read_text())
    for seed, name in enumerate(("base", "one", "two")):
        generator = torch.Generator().manual_seed(seed)
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config | {"vocab_size": 7, "num_hidden_layers": TENSORS}))
        shape = (ROWS, COLUMNS)
        tensors = {f"layer.{i}.weight": torch.randn(shape, generator=generator).bfloat16() for i in range(TENSORS)}
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})
    file = folder / "plan.yml"
    models = [str(folder / "one"), str(folder / "two")]
    file.write_text(json.dumps({"ties": {"models": models, "base": str(folder / "base"), "density": 0.3}}))
    return file


def started(plan, out, *options):
    command = [sys.executable, "-m", "consort", "merge", str(plan), str(out), *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process):
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


def digests(folder):
    """SHA-256 of every tensor, whatever file it lies in."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as handle:
            for name in handle.keys():
                found[name] = hashlib.sha256(handle.get_tensor(name).view(torch.uint8).numpy().tobytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def expected(plan, tmp_path_factory):
    out = tmp_path_factory.mktemp("expected") / "out"
    finished(started(plan, out, "--threads", 1))
    return digests(out)


def test_threads_and_shards_do_not_change_a_bit(plan, expected, tmp_path):
    finished(started(plan, tmp_path / "out", "--threads", 4, "--shard-size", "3MB"))
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    assert digests(tmp_path / "out") == expected


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_killed_and_started_again_it_gives_the_same_bytes(seed, plan, expected, tmp_path):
    out, moment = tmp_path / "out", random.Random(seed)
    process = started(plan, out)
    while process.poll() is None and not list(tmp_path.glob("out.partial-*")):
        time.sleep(0.01)
    time.sleep(moment.uniform(0, 0.4))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists() or digests(out) == expected  # whole or not there, even where the kill came after the end
    finished(started(plan, out, *(["--force"] if out.exists() else [])))
    assert digests(out) == expected
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_input_replaced_between_two_merges_is_read_anew(tmp_path):
    """Regression 19 of the merging specification: no handle of the old file is used again."""
    model = shutil.copytree(lab.path("mirror"), tmp_path / "model")
    plan = {"linear": {"models": [str(model), "lab:order"]}}
    first = build(parse(plan), "checkpoint")["model.norm.weight"].clone()
    shutil.copyfile(lab.path("harmful") / "model.safetensors", model / "new")
    (model / "new").replace(model / "model.safetensors")
    second = build(parse(plan), "checkpoint")["model.norm.weight"]
    wanted = build(parse({"linear": {"models": ["lab:harmful", "lab:order"]}}), "checkpoint")["model.norm.weight"]
    assert torch.equal(second, wanted) and not torch.equal(first, second)
