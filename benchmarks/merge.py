"""Merging against copying: `cp` + `sync`, consort, and mergekit where CONSORT_MERGEKIT names its Python; one run.

    python benchmarks/merge.py --parameters 1.1e9 --runs 3

Llama-shaped bfloat16 models are generated in a temporary folder (seeded, streamed; four models' worth of disk) and
removed afterwards. Each program is a process of its own; CPU and peak memory are what the system says of that process.

How long a copy takes depends on the memory that it finds: one that starts on pages just freed by another takes half the
time of one that starts on pages the machine has to fetch. Copy and merges are therefore measured in rounds, each
program once in every round, and every run starts from the same state:

1. the output of the run before is deleted, and `sync` leaves no dirty page;
2. the inputs are read once, so that they are in the page cache;
3. as many bytes as a model has are written to a file beside, synced and deleted: the memory that the run will fill is
   then what another program has just given back, for copy and merge alike;
4. a pause of --settle seconds, in which the disk comes to rest.

The copy is timed as `cp` and `sync` of its file; consort syncs what it writes before it ends, mergekit does not and
gets a `sync` too. What is printed is the median over the rounds, less the median time of `import torch` for programs
that import it, and the ratio of that to the median copy; in brackets the least and greatest ratio within a round.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

Shapes = Mapping[str, tuple[int, ...]]

METHODS = ("linear", "ties", "sce", "dare_ties", "model_stock", "della", "tsv_m")
MERGEKIT_PARAMETERS = {"ties": {"density": 0.2}, "dare_ties": {"density": 0.5}, "della": {"density": 0.5}}
MODELS = ("base", "one", "two")
TINY = (1_000, 5_000, 10_000, 20_000)
PIECE = 1 << 22


class Cost(NamedTuple):
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def llama(parameters: float) -> tuple[dict[str, Any], Shapes]:
    """Configuration and tensors of a Llama of about so many parameters, in TinyLlama's proportions."""
    width = max(64, round(2048 * (parameters / 1.1e9) ** (1 / 3) / 64) * 64)
    inner, kv, vocab = width * 11 // 4, max(16, width // 8), width * 32_000 // 2048
    layer = {"self_attn.q_proj": (width, width), "self_attn.k_proj": (kv, width), "self_attn.v_proj": (kv, width)}
    layer |= {"self_attn.o_proj": (width, width), "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width)}
    layer |= {"mlp.down_proj": (width, inner), "input_layernorm": (width,), "post_attention_layernorm": (width,)}
    of_layer = sum(prod(shape) for shape in layer.values())
    layers = max(1, round((parameters - 2 * vocab * width) / of_layer))
    shapes = {"model.embed_tokens.weight": (vocab, width), "lm_head.weight": (vocab, width)}
    shapes |= {f"model.layers.{i}.{name}.weight": shape for i in range(layers) for name, shape in layer.items()}
    shapes |= {"model.norm.weight": (width,)}
    config = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers, "vocab_size": vocab}
    config |= {"num_attention_heads": width // 64, "num_key_value_heads": max(1, kv // 64), "head_dim": 64}
    return config, shapes


def experts(tensors: int) -> tuple[dict[str, Any], Shapes]:
    """As `llama`, of so many 8 x 8 tensors named like those of a mixture of experts."""
    names = (f"model.layers.{i // 100}.mlp.experts.{i % 100}.down_proj.weight" for i in range(tensors))
    config = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": -(-tensors // 100), "vocab_size": 8}
    return config | {"num_attention_heads": 1}, {name: (8, 8) for name in names}


def make(folder: Path, config: Mapping[str, Any], shapes: Shapes) -> None:
    """`generate` in a process of its own: what this one holds would count as the peak memory of those it starts."""
    process = multiprocessing.get_context("spawn").Process(target=generate, args=(folder, config, shapes))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the models could not be generated")


def generate(folder: Path, config: Mapping[str, Any], shapes: Shapes) -> None:
    """A base of normal weights and two fine-tuned copies, written piece by piece."""
    import torch

    from consort.weights.checkpoint import Spec, bytes_of, ranges
    from consort.weights.disk.header import encode

    files = []
    for name in MODELS:
        (folder / name).mkdir(parents=True)
        kind = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": False}
        (folder / name / "config.json").write_text(json.dumps({**kind, "torch_dtype": "bfloat16", **config}))
        files.append(open(folder / name / "model.safetensors", "wb"))  # noqa: SIM115  (closed below)
        files[-1].write(encode({key: Spec(shape, torch.bfloat16) for key, shape in shapes.items()}))
    random = torch.Generator().manual_seed(0)
    for shape in shapes.values():
        for start, stop in ranges(prod(shape), PIECE):
            weights = torch.empty(stop - start).normal_(0, 0.02, generator=random)
            for file, change in zip(files, (0.0, 0.001, 0.002), strict=True):
                moved = weights + torch.empty_like(weights).normal_(0, 1, generator=random).mul_(change)
                file.write(bytes_of(moved.bfloat16()))
    for file in files:
        file.flush()
        os.fsync(file.fileno())
        file.close()


def measured(command: Sequence[str | Path]) -> Cost:
    """Run a program to its end. Its output is shown only if it fails."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        child = subprocess.Popen([str(part) for part in command], stdout=said, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            raise SystemExit(f"{command} failed:\n{said.read().decode(errors='replace')[-3000:]}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


class Bench(NamedTuple):
    """Where runs write, and what each of them finds."""

    folder: Path
    inputs: Sequence[Path]
    settle_s: float

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def prepare(self) -> None:
        """The state that every run starts from."""
        shutil.rmtree(self.out, ignore_errors=True)
        os.sync()
        for path in self.inputs:
            measured(["cat", path])
        if self.inputs:
            beside = self.folder / "filler"
            measured(["sh", "-c", 'cp "$0" "$1" && sync "$1" && rm "$1" && sync', self.inputs[-1], beside])
        time.sleep(self.settle_s)

    def run(self, command: Sequence[str | Path]) -> Cost:
        self.prepare()
        cost = measured(command)
        shutil.rmtree(self.out, ignore_errors=True)
        return cost


def median(costs: Sequence[Cost]) -> Cost:
    """Median times and the greatest peak."""
    wall, cpu = (statistics.median(getattr(cost, field) for cost in costs) for field in ("wall_s", "cpu_s"))
    return Cost(wall, cpu, max(cost.peak_bytes for cost in costs))


def less(cost: Cost, start: Cost) -> Cost:
    """A run's times without those of starting."""
    return Cost(cost.wall_s - start.wall_s, cost.cpu_s - start.cpu_s, cost.peak_bytes)


def starting(python: str, runs: int) -> Cost:
    """What `import torch` takes, after once to warm the caches."""
    command = [python, "-c", "import torch"]
    measured(command)
    return median([measured(command) for _ in range(max(3, runs))])


def plan(folder: Path, method: str) -> Path:
    """A plan file for consort."""
    models: dict[str, Any] = {"models": [str(folder / name) for name in MODELS[1:]]}
    base = {} if method == "linear" else {"base": str(folder / "base")}
    path = folder / f"{method}.yml"
    path.write_text(json.dumps({method: {**models, **base}}))
    return path


def mergekit_plan(folder: Path, method: str) -> Path:
    """The same for mergekit, which has other defaults."""
    given = {"weight": 1.0} if method != "model_stock" else {}
    given |= MERGEKIT_PARAMETERS.get(method, {})
    models = [{"model": str(folder / name), "parameters": given} for name in MODELS[1:]]
    base = {} if method == "linear" else {"base_model": str(folder / "base")}
    path = folder / f"{method}.mergekit.yml"
    path.write_text(json.dumps({"merge_method": method, "models": models, **base, "dtype": "bfloat16"}))
    return path


def consort(folder: Path, method: str, out: Path, threads: int) -> list[str | Path]:
    code = "import sys; from consort.cli import main; sys.argv[0] = 'consort'; main()"
    return [sys.executable, "-c", code, "merge", plan(folder, method), out, "--threads", str(threads)]


def compare(bench: Bench, methods: Sequence[str], runs: int, threads: int) -> None:
    """One line for each program and method, with its time as a multiple of that of the copies of the same rounds."""
    folder, out, mergekit = bench.folder, bench.out, os.environ.get("CONSORT_MERGEKIT")
    start = starting(sys.executable, runs)
    print(f"{'import torch (subtracted)':34} {start.wall_s:8.2f} s {start.cpu_s:8.2f} s CPU")
    copying = ["sh", "-c", 'mkdir "$1" && cp "$0" "$1" && sync "$1"/*', bench.inputs[-1], out]
    programs: dict[str, tuple[Sequence[str | Path], Cost]] = {"cp + sync": (copying, Cost(0, 0, 0))}
    programs |= {f"consort {m}": (consort(folder, m, out, threads), start) for m in methods}
    if mergekit:
        its_start = starting(mergekit, runs)
        theirs = '"$0" -m mergekit.scripts.run_yaml "$1" "$2" && sync "$2"/*'
        for m in methods:
            programs[f"mergekit {m}"] = ["sh", "-c", theirs, mergekit, mergekit_plan(folder, m), out], its_start
    rounds = [{name: less(bench.run(command), s) for name, (command, s) in programs.items()} for _ in range(runs)]
    for name in programs:
        show(name, [costs[name] for costs in rounds], [costs["cp + sync"] for costs in rounds])


def show(name: str, costs: Sequence[Cost], copies: Sequence[Cost]) -> None:
    cost, copy = median(costs), median(copies)
    ratios = [mine.wall_s / its.wall_s for mine, its in zip(costs, copies, strict=True)]
    spread = f"({min(ratios):.1f} to {max(ratios):.1f})" if len(ratios) > 1 else ""
    times = f"{cost.wall_s:8.2f} s {cost.cpu_s:8.2f} s CPU {cost.peak_bytes / 1e6:7.0f} MB"
    print(f"{name:34} {times} {cost.wall_s / copy.wall_s:7.1f} x cp {spread}".rstrip(), flush=True)


def many(folder: Path, counts: Sequence[int], runs: int, threads: int, settle_s: float) -> None:
    """Time by number of tensors, all tiny; beside it the multiple of the time of half as many, where that is known."""
    start = starting(sys.executable, runs)
    for count in counts:
        make(folder / str(count), *experts(count))
    bench = Bench(folder, [], settle_s)
    for method in ("linear", "ties"):
        known: dict[int, float] = {}
        for count in counts:
            command = consort(folder / str(count), method, bench.out, threads)
            cost = less(median([bench.run(command) for _ in range(max(1, runs))]), start)
            known[count] = cost.wall_s
            growth = f"{cost.wall_s / known[count // 2]:6.2f} x half" if count // 2 in known else ""
            print(f"{count:6} tensors, {method:10} {cost.wall_s:8.2f} s {cost.cpu_s:8.2f} s CPU {growth}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=float, nargs="*", default=[3e7], help="of each model (default 3e7)")
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    parser.add_argument("--tiny", type=int, nargs="*", default=TINY, help="numbers of tiny tensors")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--settle", type=float, default=4, help="seconds of rest before each run (default 4)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consort-bench-", dir=given.folder) as name:
        for parameters in given.parameters:
            config, shapes = llama(parameters)
            folder = Path(name) / str(int(parameters))
            make(folder, config, shapes)
            count = sum(map(prod, shapes.values()))
            print(f"\n{count / 1e9:.3f} billion parameters, {len(shapes)} tensors, {given.threads} threads")
            inputs = [folder / model / "model.safetensors" for model in MODELS]
            compare(Bench(folder, inputs, given.settle), given.methods, given.runs, given.threads)
            shutil.rmtree(folder)
        if given.tiny:
            print()
            many(Path(name), given.tiny, given.runs, given.threads, given.settle)


if __name__ == "__main__":
    main()
