"""docs/scaling.md: its figures are those of `--dry-run`, its job scripts give the bytes of one run."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from math import prod
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import consort as c
from consort.merge.engine.estimate import estimate

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8")
SIZES = {"7 B": (4096, 14336, 32, 32, 32000), "70 B": (8192, 28672, 80, 64, 128256)}


def shapes_of(hidden, inner, layers, heads, vocabulary):
    narrow = 8 * hidden // heads
    found = {"model.embed_tokens": (vocabulary, hidden), "lm_head": (vocabulary, hidden), "model.norm": (hidden,)}
    for i in range(layers):
        at = f"model.layers.{i}"
        found |= {f"{at}.{name}_layernorm": (hidden,) for name in ("input", "post_attention")}
        found |= {f"{at}.self_attn.{name}_proj": (hidden, hidden) for name in "qo"}
        found |= {f"{at}.self_attn.{name}_proj": (narrow, hidden) for name in "kv"}
        found |= {f"{at}.mlp.{name}_proj": (inner, hidden) for name in ("gate", "up")}
        found[f"{at}.mlp.down_proj"] = (hidden, inner)
    return {f"{name}.weight": shape for name, shape in found.items()}


def hollow(folder, hidden, inner, layers, heads, vocabulary):
    """A Llama's folder whose weights are a hole in a file: a header, and nothing that was ever written."""
    header, at = {}, 0
    for name, shape in shapes_of(hidden, inner, layers, heads, vocabulary).items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": (at, at := at + 2 * prod(shape))}
    said = json.dumps(header).encode()
    folder.mkdir()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(said)) + said)
        try:
            file.truncate(8 + len(said) + at)
        except OSError as fault:
            pytest.skip(f"this file system has no files of {at / 1e9:.0f} GB: {fault}")
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "vocab_size": vocabulary,
    }
    config |= {"intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads}
    (folder / "config.json").write_text(json.dumps(config | {"num_key_value_heads": 8, "tie_word_embeddings": False}))
    return at


@pytest.mark.parametrize("size", SIZES)
def test_the_table_of_bytes_is_what_a_dry_run_says(size, tmp_path):
    written = [hollow(tmp_path / name, *SIZES[size]) for name in "abco"][0]
    models = [c.load(str(tmp_path / name)) for name in "abc"]
    merges = {"linear": c.merge("linear", models), "ties": c.merge("ties", models, base=c.load(str(tmp_path / "o")))}
    rows = [row for row in PAGE.splitlines() if row.startswith("| `") and f" {size}" in row]
    assert len(rows) == 2
    for row, (method, merged) in zip(rows, merges.items(), strict=True):
        what, read, out, time, memory = (cell.strip() for cell in row.strip("|").split("|"))
        found = estimate(merged, threads=2)
        passes, count = (2, 4) if method == "ties" else (1, 3)
        told = f"{'2 x ' if passes == 2 else ''}{count} x {shown(written)}"
        assert method in what and read == told and out == shown(found["bytes"]) == shown(written)
        seconds = float(time.split()[0]) * (60 if time.endswith("min") else 1)
        assert seconds == pytest.approx(found["seconds"], rel=0.02)
        assert memory == "0.4 GB" and found["memory_bytes"] <= 0.4e9
    found = estimate(c.merge("tsv_m", models, base=c.load(str(tmp_path / "o"))), threads=1)
    hours, most = ("12 core hours", "16 GB") if size == "7 B" else ("230 for three of 70 B", "63 GB")
    assert hours in PAGE and found["seconds"] / 3600 == pytest.approx(float(hours.split()[0]), rel=0.05)
    assert most == f"{found['memory_bytes'] / 1e9:.0f} GB" and most in PAGE


def shown(count):
    return f"{count / 1e9:.3g} GB"


def test_the_sums_of_the_text():
    seven, seventy = (sum(map(prod, shapes_of(*SIZES[size]).values())) for size in SIZES)
    assert f"Llama of {seven / 1e9:.2f} B" in PAGE and f"one of {seventy / 1e9:.1f} B" in PAGE
    running = [1.13 * 2 * count / 1e9 for count in (seven, seventy)]
    assert f"({running[0]:.1f} GB)" in PAGE and f"{running[1]:.0f} GB" in PAGE and f"{4 * running[0]:.0f} GB" in PAGE
    caches = [2 * layers * 8 * hidden // heads * 2 for hidden, _, layers, heads, _ in SIZES.values()]
    assert [f"{round(cache / 1e3)} kB" for cache in caches] == ["131 kB", "328 kB"]
    assert (
        f"{16 * 4096 * caches[0] / 1e9:.1f} GB; {caches[1] / 1e3:.0f} kB and {16 * 4096 * caches[1] / 1e9:.1f} GB"
        in PAGE
    )
    assert f"{4 * caches[0] / 1e6:.2f} MB for each token" in PAGE
    assert round((80e9 - 4e9 * running[0]) / (4 * caches[0]), -3) == 28000 and "28,000 tokens" in PAGE
    for size, told in (("7 B", "84 MB for 7 B"), ("70 B", "414 MB for 70 B")):
        maps = [s for name, s in shapes_of(*SIZES[size]).items() if "_proj" in name]
        assert f"{round(2 * 16 * sum(map(sum, maps)) / 1e6)} MB for {size}" == told and told in PAGE


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def shim(tmp_path, monkeypatch):
    """A `consort` that notes its arguments, first on the path."""
    folder, said = tmp_path / "bin", tmp_path / "said"
    folder.mkdir()
    (folder / "consort").write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    (folder / "consort").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return said


def schedulers():
    return re.findall(r"^\| (.+?) \| `(\$.+?)` \|$", PAGE, re.MULTILINE)


def settings(expression, number, count):
    """What a scheduler puts into the environment of task `number` (from 1): by the names in the expression."""
    names = re.findall(r"[A-Z_]{4,}", expression)
    begin = 0 if "+ 1" in expression else 1
    return {names[0]: str(number - 1 + begin), names[1]: str(count)}


@pytest.mark.parametrize(("scheduler", "expression"), schedulers(), ids=[name for name, _ in schedulers()])
def test_any_job_array_names_the_parts(scheduler, expression):
    told = []
    for number in (1, 2, 3):
        env = {**os.environ, **settings(expression, number, 3)}
        found = subprocess.run(
            ["sh", "-c", f'echo "{expression}"'], env=env, capture_output=True, text=True, check=True
        )
        told.append(found.stdout.strip())
    assert told == ["1/3", "2/3", "3/3"]


def test_the_table_has_the_usual_schedulers():
    assert len(schedulers()) >= 7 and {"JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"} <= set(
        re.findall(r"[A-Z_]{8,}", PAGE)
    )


def test_the_indexed_job_of_kubernetes(shim):
    [job] = [yaml.safe_load(text) for text in blocks("yaml") if "kind: Job" in text]
    [container] = job["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(given["PARTS"])
    for index in range(8):
        env = {**os.environ, **given, "JOB_COMPLETION_INDEX": str(index)}
        subprocess.run(container["command"], env=env, check=True)
    assert [line.rpartition(" ")[2] for line in shim.read_text().splitlines()] == [f"{i}/8" for i in range(1, 9)]


def test_the_tasks_of_ray(shim, monkeypatch):
    def remote(**options):
        return lambda function: SimpleNamespace(remote=function)

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(remote=remote, get=list))
    [text] = [block for block in blocks("py") if "ray" in block]
    exec(compile(text, "scaling.md", "exec"), {})
    told = shim.read_text().splitlines()
    assert told == [*(f"merge plan.yml out/ --part {i}/8" for i in range(1, 9)), "merge plan.yml out/ --join"]


def test_a_job_array_gives_the_bytes_of_one_run(tmp_path, monkeypatch):
    """The script of the page, as SLURM would start it, in an order of its own."""
    folder, script = tmp_path / "bin", tmp_path / "merge.sh"
    folder.mkdir()
    (folder / "consort").write_text(f'#!/bin/sh\nexec {sys.executable} -m consort "$@"\n')
    (folder / "consort").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "plan.yml").write_text("ties: {models: [lab:mirror, lab:order], base: lab:base, density: 0.4}\n")
    script.write_text(blocks("bash")[0])
    assert script.read_text().startswith("#!/bin/bash\n#SBATCH --array=1-")
    for number in (2, 1):
        env = {**os.environ, "SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": "2"}
        subprocess.run(["bash", str(script)], env=env, cwd=tmp_path, check=True)
    join = re.search(r'--wrap "(.+?)"', PAGE)[1]
    subprocess.run(["bash", "-c", join], cwd=tmp_path, check=True)
    c.save(
        c.merge("ties", [c.load("lab:mirror"), c.load("lab:order")], base=c.load("lab:base"), density=0.4),
        tmp_path / "one",
    )
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "one")]
    assert weights[0] == weights[1]


def test_plans_of_the_page_are_plans():
    from consort.plan.expression import parse

    [plan] = [yaml.safe_load(text) for text in blocks("yaml") if "cascade" in text]
    assert len(parse(plan).root.arguments["models"]) == 2
