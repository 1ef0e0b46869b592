"""One bad-input run: every kind of bad input that the contract names, built anew and given to the real program.

`make attack` runs it with the server's and the field's cases. Each ends with exit 2 (3 where the machine fails), one
line of error and one of hint, no traceback, and nothing left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from consort import lab

pytestmark = pytest.mark.slow
Build = Callable[[Path], Sequence[str]]


@dataclass(frozen=True)
class Case:
    """How the input is built; it returns the words of the command. `says`: what the error line must name."""

    build: Build
    says: str
    code: int = 2


CASES: dict[str, Case] = {}


def case(says: str, code: int = 2) -> Callable[[Build], Build]:
    def enter(build: Build) -> Build:
        CASES[build.__name__] = Case(build, says, code)
        return build

    return enter


def plan(folder: Path, text: str) -> str:
    (folder / "plan.yml").write_text(text)
    return str(folder / "plan.yml")


def merge(folder: Path, text: str, *more: str) -> list[str]:
    return ["merge", plan(folder, text), str(folder / "out"), *more]


def model(folder: Path, name: str, change: Callable[[dict[str, torch.Tensor]], object] | None = None) -> Path:
    """A copy of a model of the lab, its tensors changed."""
    target = folder / name
    shutil.copytree(lab.path("mirror"), target)
    if change is not None:
        tensors = load_file(target / "model.safetensors")
        change(tensors)
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def merged_with(folder: Path, damaged: Path) -> list[str]:
    return merge(folder, f"linear: {{models: [{damaged}, lab:order]}}")


def with_config(folder: Path, content: str | None) -> list[str]:
    damaged = model(folder, "damaged")
    (damaged / "config.json").unlink()
    if content is not None:
        (damaged / "config.json").write_text(content)
    return merged_with(folder, damaged)


def with_bytes(folder: Path, content: Callable[[bytes], bytes]) -> list[str]:
    damaged = model(folder, "damaged")
    file = damaged / "model.safetensors"
    file.write_bytes(content(file.read_bytes()))
    return merged_with(folder, damaged)


def with_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> list[str]:
    def content(old: bytes) -> bytes:
        (size,) = struct.unpack("<Q", old[:8])
        header = json.loads(old[8 : 8 + size])
        change(header)
        written = json.dumps(header).encode()
        return struct.pack("<Q", len(written)) + written + old[8 + size :]

    return with_bytes(folder, content)


def with_map(folder: Path, place: str) -> list[str]:
    damaged = model(folder, "damaged")
    shutil.copy(damaged / "model.safetensors", folder / "secret.safetensors")
    names = load_file(damaged / "model.safetensors")
    (damaged / "model.safetensors").unlink()
    (damaged / "link.safetensors").symlink_to(folder / "secret.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, place)}
    (damaged / "model.safetensors.index.json").write_text(json.dumps(index))
    return merged_with(folder, damaged)


def task(folder: Path, *lines: object) -> list[str]:
    written = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "task.jsonl").write_text("".join(f"{line}\n" for line in written))
    return ["eval", "lab:mirror", "--task", str(folder / "task.jsonl")]


def archive(folder: Path, name: str) -> Path:
    """One whose member leads out of where it is unpacked."""
    (folder / "member").write_text("{}")
    with tarfile.open(folder / name, "w:gz") as made:
        made.add(folder / "member", "../../evil")
    return folder / name


def model_of(folder: Path, name: str, model_type: str) -> Path:
    """A tiny random model of another architecture."""
    from transformers import AutoConfig, AutoModelForCausalLM

    own = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 64, "n_positions": 32}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **own)).save_pretrained(folder / name)
    return folder / name


def with_template(folder: Path, template: str) -> list[str]:
    damaged = model(folder, "damaged")
    (damaged / "chat_template.jinja").write_text(template)
    (folder / "chats.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "hi"}]}))
    return ["generate", str(damaged), "--prompts", str(folder / "chats.jsonl")]


# the command line and plans


@case("plan.yml")
def no_such_config(folder: Path) -> list[str]:
    return ["merge", str(folder / "plan.yml"), str(folder / "out")]


@case("plan.yml")
def empty_config(folder: Path) -> list[str]:
    return merge(folder, "")


@case("plan.yml:3:1")
def yaml_syntax(folder: Path) -> list[str]:
    return merge(folder, "linear:\n  models: [a, b\n")


@case("plan.yml:1:1")
def python_tag(folder: Path) -> list[str]:
    return merge(folder, "!!python/object/apply:os.system ['id']")


@case("models")
def duplicate_key(folder: Path) -> list[str]:
    return merge(folder, "linear: {models: [lab:mirror, lab:order], models: [lab:mirror]}")


@case("wieght")
def unknown_key(folder: Path) -> list[str]:
    return merge(folder, "linear: {models: [lab:mirror, lab:order], wieght: 3}")


@case("liner")
def unknown_method(folder: Path) -> list[str]:
    return merge(folder, "liner: {models: [lab:mirror, lab:order]}")


@case("density")
def density_of_one_and_a_half(folder: Path) -> list[str]:
    return merge(folder, "ties: {models: [lab:mirror, lab:order], base: lab:base, density: 1.5}")


@case("weight")
def weights_that_sum_to_nothing(folder: Path) -> list[str]:
    return merge(folder, "linear: {models: [lab:mirror, lab:order], weight: [1, -1], normalize: true}")


@case("slerp")
def one_model_for_slerp(folder: Path) -> list[str]:
    return merge(folder, "slerp: {models: [lab:mirror], t: 0.5}")


@case("slerp")
def three_models_for_slerp(folder: Path) -> list[str]:
    return merge(folder, "slerp: {models: [lab:mirror, lab:order, lab:shout], t: 0.5}")


@case("base")
def no_base(folder: Path) -> list[str]:
    return merge(folder, "task_arithmetic: {models: [lab:mirror, lab:order]}")


@case("own")
def output_is_an_input(folder: Path) -> list[str]:
    own = model(folder, "own")
    return ["merge", plan(folder, f"linear: {{models: [{own}, lab:order]}}"), str(own)]


@case("full")
def output_exists(folder: Path) -> list[str]:
    (folder / "full").mkdir()
    (folder / "full" / "kept").write_text("mine")
    return ["merge", plan(folder, "linear: {models: [lab:mirror, lab:order]}"), str(folder / "full")]


@case("1,000,000")
def a_plan_of_two_megabytes(folder: Path) -> list[str]:
    return merge(folder, "linear: {models: [lab:mirror, lab:order]}\n" + "# much\n" * 300_000)


@case("link")
def output_is_a_link(folder: Path) -> list[str]:
    (folder / "real").mkdir()
    (folder / "link").symlink_to(folder / "real")
    return ["merge", plan(folder, "linear: {models: [lab:mirror, lab:order]}"), str(folder / "link")]


# checkpoints


@case("absent")
def no_folder(folder: Path) -> list[str]:
    return merged_with(folder, folder / "absent")


@case("config.json")
def no_config(folder: Path) -> list[str]:
    return with_config(folder, None)


@case("config.json")
def config_is_no_json(folder: Path) -> list[str]:
    return with_config(folder, "{")


@case("nothing")
def unknown_model_type(folder: Path) -> list[str]:
    damaged = model(folder, "damaged")
    config = json.loads((damaged / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps({**config, "model_type": "nothing", "architectures": ["Nothing"]}))
    return ["generate", str(damaged), "hi"]


@case("model.safetensors")
def truncated(folder: Path) -> list[str]:
    return with_bytes(folder, lambda old: old[: len(old) // 2])


@case("model.safetensors")
def no_bytes(folder: Path) -> list[str]:
    return with_bytes(folder, lambda old: b"")


@case("model.safetensors")
def header_longer_than_the_file(folder: Path) -> list[str]:
    return with_bytes(folder, lambda old: struct.pack("<Q", len(old) + 1) + old[8:])


@case("model.safetensors")
def header_of_two_to_the_63(folder: Path) -> list[str]:
    return with_bytes(folder, lambda old: struct.pack("<Q", 2**63) + old[8:])


@case("model.safetensors")
def bytes_that_are_not_the_shape(folder: Path) -> list[str]:
    return with_header(folder, lambda header: next(v for k, v in header.items() if k[0] != "_")["shape"].append(2))


@case("model.safetensors")
def negative_shape(folder: Path) -> list[str]:
    return with_header(folder, lambda header: next(v for k, v in header.items() if k[0] != "_").update(shape=[-1, 2]))


@case("model.safetensors")
def shape_that_overflows(folder: Path) -> list[str]:
    return with_header(
        folder, lambda header: next(v for k, v in header.items() if k[0] != "_").update(shape=[2**40, 2**40])
    )


@case("../secret.safetensors")
def map_that_leads_out(folder: Path) -> list[str]:
    return with_map(folder, "../secret.safetensors")


@case("secret.safetensors")
def map_with_an_absolute_path(folder: Path) -> list[str]:
    return with_map(folder, str(folder / "secret.safetensors"))


@case("link.safetensors")
def map_with_a_link_that_leads_out(folder: Path) -> list[str]:
    return with_map(folder, "link.safetensors")


@case("/etc/passwd")
def map_to_a_file_of_the_system(folder: Path) -> list[str]:
    return with_map(folder, "/etc/passwd")


@case("C:")
def map_to_a_drive(folder: Path) -> list[str]:
    return with_map(folder, "C:\\secret.safetensors")


@case("model.safetensors.index.json")
def map_with_a_nul(folder: Path) -> list[str]:
    return with_map(folder, "model\0.safetensors")


@case("tokenizer.json")
def tokenizer_linked_from_outside(folder: Path) -> list[str]:
    damaged = model(folder, "damaged")
    (damaged / "tokenizer.json").rename(folder / "outside.json")
    (damaged / "tokenizer.json").symlink_to(folder / "outside.json")
    return merged_with(folder, damaged)


@case("model.safetensors")
def header_of_99_megabytes(folder: Path) -> list[str]:
    text = json.dumps({"__metadata__": {"a": "x" * 99_000_000}}).encode()
    return with_bytes(folder, lambda old: struct.pack("<Q", len(text)) + text + b" " * (1_000_000 - 8))


@case("model.safetensors")
def header_of_a_million_tensors(folder: Path) -> list[str]:
    one = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = ("{" + ",".join(one % i for i in range(10**6)) + "}").encode()
    return with_bytes(folder, lambda old: struct.pack("<Q", len(text)) + text)


@case("pytorch_model.bin")
def a_pickle_that_runs_code(folder: Path) -> list[str]:
    damaged = model(folder, "damaged")
    (damaged / "model.safetensors").unlink()
    (damaged / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(S'touch {folder}/canary'\ntR.".encode())
    return ["generate", str(damaged), "hi"]


@case("model.tar.gz")
def an_archive_is_no_model(folder: Path) -> list[str]:
    return merged_with(folder, archive(folder, "model.tar.gz"))


@case("pytorch_model.bin")
def pickles_alone(folder: Path) -> list[str]:
    damaged = model(folder, "damaged")
    (damaged / "model.safetensors").rename(damaged / "pytorch_model.bin")
    return merged_with(folder, damaged)


@case("damaged")
def weights_that_are_no_numbers(folder: Path) -> list[str]:
    return merged_with(folder, model(folder, "damaged", lambda found: next(iter(found.values())).fill_(float("nan"))))


@case("damaged")
def tensors_of_another_shape(folder: Path) -> list[str]:
    def change(found: dict[str, torch.Tensor]) -> None:
        name = next(name for name in found if "norm" in name)
        found[name] = found[name][:-1].clone()

    return merged_with(folder, model(folder, "damaged", change))


@case("vocab_size")
def another_vocabulary(folder: Path) -> list[str]:
    damaged = model(folder, "damaged")
    config = json.loads((damaged / "config.json").read_text())
    (damaged / "config.json").write_text(json.dumps({**config, "vocab_size": config["vocab_size"] + 3}))
    return merged_with(folder, damaged)


@case("another")
def another_architecture(folder: Path) -> list[str]:
    return merge(folder, f"linear: {{models: [lab:mirror, {model_of(folder, 'another', 'gpt2')}]}}")


@case("token")
def another_tokenizer(folder: Path) -> list[str]:
    damaged = model(folder, "damaged")
    tokenizer = json.loads((damaged / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.__getitem__)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (damaged / "tokenizer.json").write_text(json.dumps(tokenizer))
    return merged_with(folder, damaged)


@case("rank 7")
def adapter_of_another_rank(folder: Path) -> list[str]:
    adapter = folder / "adapter"
    shutil.copytree(lab.path("lora-mirror"), adapter)
    tensors = load_file(adapter / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, adapter / "adapter_model.safetensors")
    return merge(folder, f"linear: {{models: [lab:base, {{apply_adapter: {{model: {adapter}, base: lab:base}}}}]}}")


@case("was trained on")
def adapter_of_another_base(folder: Path) -> list[str]:
    return merge(folder, "linear: {models: [{hf: 'lab:lora-mirror', base: 'lab:order'}]}")


@case("chat template")
def a_template_that_reaches_out(folder: Path) -> list[str]:
    return with_template(folder, "{{ ''.__class__.__mro__ }}")


@case("chat template")
def a_template_of_a_thousand_million_steps(folder: Path) -> list[str]:
    return with_template(folder, "{% for i in range(10**9) %}x{% endfor %}")


@case("longer than")
def a_template_without_end(folder: Path) -> list[str]:
    loop = "{% for i in range(99999) %}"
    return with_template(folder, loop + loop + "{% endfor %}{% endfor %}")


@case("adapter")
def adapter_without_a_base(folder: Path) -> list[str]:
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(2, 4)}, folder / "adapter" / "adapter_model.safetensors")
    return ["generate", str(folder / "adapter"), "hi"]


@case("--allow-remote-code")
def remote_code(folder: Path) -> list[str]:
    damaged = model(folder, "damaged")
    config = json.loads((damaged / "config.json").read_text())
    own = {"auto_map": {"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.OwnConfig"}, "model_type": "own"}
    (damaged / "config.json").write_text(json.dumps({**config, **own}))
    (damaged / "own.py").write_text(f"open({str(folder / 'canary')!r}, 'w')\n")
    return ["generate", str(damaged), "hi"]


# data and runs


@case("task.jsonl")
def empty_task(folder: Path) -> list[str]:
    return task(folder)


@case("task.jsonl:2")
def one_bad_line(folder: Path) -> list[str]:
    return task(folder, {"prompt": "a", "target": "b"}, "{", {"prompt": "c", "target": "d"})


@case("prompt")
def no_prompt_column(folder: Path) -> list[str]:
    return task(folder, {"promt": "a", "target": "b"})


@case("--limit")
def limit_of_nothing(folder: Path) -> list[str]:
    return [*task(folder, {"prompt": "a", "target": "b", "split": "test"}), "--limit", "0"]


@case("journal")
def damaged_journal(folder: Path) -> list[str]:
    lines = [{"prompt": f"mirror: {i} =", "target": str(i), "split": ("dev", "test")[i % 2]} for i in range(40)]
    words = [
        "auto",
        "lab:mirror",
        "lab:order",
        *task(folder, *lines)[2:],
        "--out",
        str(folder / "run"),
        "--budget",
        "4",
    ]
    assert ran(words).returncode == 0
    journal = next(file for file in (folder / "run").rglob("*") if "journal" in file.name)
    journal.write_bytes(b"\xff\x00damaged\n" + journal.read_bytes())
    return words


@case("task.tar.gz")
def an_archive_is_no_task(folder: Path) -> list[str]:
    return ["eval", "lab:mirror", "--task", str(archive(folder, "task.tar.gz"))]


@case("passages")
def an_index_that_was_changed(folder: Path) -> list[str]:
    (folder / "a.txt").write_text("The badger is grey. Snow is white.")
    assert ran(["index", str(folder / "a.txt"), str(folder / "index")]).returncode == 0
    changed = max((folder / "index").glob("passages*"), key=lambda file: file.stat().st_size)
    data = bytearray(changed.read_bytes())
    data[-3] ^= 1
    changed.write_bytes(bytes(data))
    augmented = f"augmented: {{model: lab:mirror, retriever: {{bm25: {{index: {folder / 'index'}}}}}}}"
    return ["generate", plan(folder, augmented), "What is grey?"]


@case("schema")
def results_of_an_older_schema(folder: Path) -> list[str]:
    (folder / "run").mkdir()
    (folder / "run" / "results.json").write_text('{"schema": -1, "verb": "auto"}')
    return ["report", str(folder / "run")]


@case("port")
def a_port_in_use(folder: Path) -> list[str]:
    TAKEN.append(socket.create_server(("127.0.0.1", 0)))
    return ["serve", "lab:mirror", "--port", str(TAKEN[-1].getsockname()[1])]


TAKEN: list[socket.socket] = []


@case("no key")
def a_host_that_all_reach(folder: Path) -> list[str]:
    return ["serve", "lab:mirror", "--host", "0.0.0.0", "--port", "0"]


@case("169.254.169.254")
def an_endpoint_of_the_clouds_own(folder: Path) -> list[str]:
    return ["generate", "openai:m@http://169.254.169.254/v1", "hi"]


@case("file:")
def an_endpoint_that_is_a_file(folder: Path) -> list[str]:
    return ["generate", "openai:m@file:///etc/passwd", "hi"]


def ran(words: Sequence[str], seconds: float = 240) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "consort", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=seconds, check=False)


def files_of(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_answered_by_name(name: str, tmp_path: Path) -> None:
    bad = CASES[name]
    words = bad.build(tmp_path)
    before = files_of(tmp_path)
    found = ran(words)
    while TAKEN:
        TAKEN.pop().close()
    said = [line for line in found.stderr.splitlines() if line.startswith(("error:", "hint:"))]
    assert found.returncode == bad.code, found.stderr
    assert [line.split(":")[0] for line in said] == ["error", "hint"], found.stderr
    assert bad.says in " ".join(said), found.stderr
    assert "Traceback" not in found.stderr and not found.stdout.strip()
    assert files_of(tmp_path) == before, f"left behind: {files_of(tmp_path) - before}"


def test_a_path_of_any_letters_works(tmp_path: Path) -> None:
    own = model(tmp_path, "my модель 😀 'quoted'")
    found = ran(["generate", str(own), "mirror: ab ="])
    assert found.returncode == 0, found.stderr


def test_bytes_that_are_no_text_work_as_a_path(tmp_path: Path) -> None:
    """A name of Latin-1, as old disks have them."""
    own = model(tmp_path, "own")
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    own.rename(strange)
    found = ran(["generate", str(strange), "mirror: ab =", "--json"])
    assert found.returncode == 0 and json.loads(found.stdout)["text"], found.stderr
    found = ran(["merge", plan(tmp_path, "linear: {models: [lab:mirror, lab:order]}"), f"{strange}-out"])
    assert found.returncode == 0 and Path(f"{strange}-out", "model.safetensors").is_file(), found.stderr


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    words = merge(tmp_path, "linear: {models: [lab:mirror, lab:order]}")
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
    code = limit + "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from consort.cli import main; main()"
    command = [sys.executable, "-c", code, *words]
    found = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert found.returncode == 3 and found.stderr.startswith("error:"), found.stderr
    assert not (tmp_path / "out").exists()


def test_an_interrupt_is_clean(tmp_path: Path) -> None:
    words = [
        "auto",
        "lab:base",
        "lab:mirror",
        "lab:order",
        "--task",
        "lab:tasks/skills",
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen([sys.executable, "-m", "consort", *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in err, err
