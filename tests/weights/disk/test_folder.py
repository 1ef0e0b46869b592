"""Model folders: what is read, and every kind of folder that is refused."""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from consort.core.errors import BadCheckpoint, Unsupported
from consort.weights.disk.folder import open_folder
from consort.weights.disk.opening import open_checkpoint

MakeFolder = Callable[..., Path]
DTYPES = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
DTYPES += ["int64", "int32", "int16", "int8", "uint8", "bool"]
INDEX = "model.safetensors.index.json"


def refused(path: Path, kind: type[Exception] = BadCheckpoint, **options: Any) -> BadCheckpoint:
    with pytest.raises(kind) as caught:
        open_folder(path, **options)
    assert isinstance(caught.value, BadCheckpoint | Unsupported) and caught.value.hint and caught.value.field
    return caught.value  # type: ignore[return-value]


@pytest.mark.parametrize("model", ["stories260K", "rwkv4-tiny", "bit-1M"])
def test_a_real_model_reads_as_the_library_reads_it(model: str, shared: Path) -> None:
    path = shared / "models" / model
    expected = load_file(path / "model.safetensors")
    with open_folder(path) as folder:
        assert folder.name == model and folder.config["model_type"]
        assert set(folder.keys()) == set(expected)
        assert all(torch.equal(folder[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_read_exactly_and_in_pieces(dtype: str, make_folder: MakeFolder) -> None:
    values = torch.arange(-6, 6).to(getattr(torch, dtype))
    with open_folder(make_folder(weights={"odd": torch.ones(3, dtype=torch.uint8), "x": values})) as folder:
        assert folder.spec("x").dtype == values.dtype
        assert torch.equal(folder["x"].view(torch.uint8), values.view(torch.uint8))
        piece = torch.empty(4, dtype=torch.float32)
        folder.read_into("x", 5, 9, piece)
        assert torch.equal(piece, values[5:9].to(torch.float32))


def test_reading_goes_on_over_many_chunks_and_threads(make_folder: MakeFolder) -> None:
    values = torch.arange(2_500_000, dtype=torch.float32).to(torch.bfloat16)
    with open_folder(make_folder(weights={"x": values})) as folder:
        results = [torch.empty(len(values)) for _ in range(4)]
        threads = [threading.Thread(target=folder.read_into, args=("x", 0, len(values), out)) for out in results]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(torch.equal(out, values.float()) for out in results)


def shard(path: Path, weight_map: dict[str, str] | None = None) -> Path:
    """Split the single file of a folder into one file per tensor, with an index."""
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    files = {name: f"model-{i}.safetensors" for i, name in enumerate(tensors)}
    for name, file in files.items():
        save_file({name: tensors[name]}, path / file)
    (path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map or files}))
    return path


def test_shards_are_one_checkpoint(make_folder: MakeFolder) -> None:
    whole, parts = open_folder(make_folder("a")), open_folder(shard(make_folder("b")))
    names = set(whole.keys())
    assert names == set(parts.keys())
    assert all(torch.equal(whole[name], parts[name]) for name in names)


def test_names_with_blanks_and_emoji_work(make_folder: MakeFolder) -> None:
    with open_folder(make_folder("ein Modell 🙂", weights={"schicht.ü": torch.ones(2)})) as folder:
        assert folder.name == "ein Modell 🙂" and folder["schicht.ü"].sum() == 2


def test_files_beside_the_weights_are_found(make_folder: MakeFolder) -> None:
    path = make_folder(files={"tokenizer.json": "{}", "chat_template.jinja": "x", "notes.txt": "", "code.py": ""})
    assert sorted(open_folder(path).files()) == ["chat_template.jinja", "tokenizer.json"]


def test_a_missing_folder_and_a_file_are_no_model(tmp_path: Path) -> None:
    assert "directory does not exist" in refused(tmp_path / "nowhere").message
    (tmp_path / "file").write_text("")
    assert "is no directory" in refused(tmp_path / "file").message


@pytest.mark.parametrize(
    ("content", "said"), [(None, "does not exist"), ("{", "JSON"), ("[]", "object"), (b"\xff", "UTF-8")]
)
def test_a_folder_without_a_configuration_is_refused(content: Any, said: str, make_folder: MakeFolder) -> None:
    path = make_folder(config=None, files={} if content is None else {"config.json": content})
    error = refused(path)
    assert said in error.message and str(error.field).endswith("config.json")


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_truncated_file_is_refused_by_name(cut: int, make_folder: MakeFolder) -> None:
    file = make_folder() / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    assert refused(file.parent).field == str(file)


def test_pickle_weights_are_refused_unread(make_folder: MakeFolder) -> None:
    evil = b"cos\nsystem\n(S'touch canary'\ntR."
    path = make_folder(weights={}, files={"pytorch_model.bin": evil})
    error = refused(path)
    assert "only pickle weights (pytorch_model.bin)" in error.message and "save_pretrained" in str(error.hint)
    assert not Path("canary").exists()


def test_a_folder_of_another_format_or_of_nothing_says_so(make_folder: MakeFolder) -> None:
    assert "only model.gguf" in refused(make_folder("a", weights={}, files={"model.gguf": ""})).message
    assert "no weights" in refused(make_folder("b", weights={})).message


def test_remote_code_is_refused_unless_allowed(make_folder: MakeFolder) -> None:
    config = {"auto_map": {"AutoModel": "evil.Model"}}
    path = make_folder(config=config, files={"evil.py": "open('canary', 'w')"})
    assert "its own code" in refused(path).message and not Path("canary").exists()
    assert "evil.py" in open_folder(path, allow_remote_code=True).files()


def test_quantised_weights_are_refused(make_folder: MakeFolder) -> None:
    path = make_folder("a", config={"quantization_config": {"quant_method": "gptq"}})
    assert "quantised" in refused(path, Unsupported).message
    packed = make_folder("b", weights={})
    header = json.dumps({"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    (packed / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    assert "w (F4)" in refused(packed, Unsupported).message


ESCAPES = [
    "../secret/model.safetensors",
    "/etc/passwd",
    "C:\\x.safetensors",
    "C:x",
    "..\\x",
    "a\0b",
    "link",
    "a/../../x",
    "",
]


@pytest.mark.parametrize("entry", ESCAPES)
def test_an_index_cannot_name_files_outside(entry: str, make_folder: MakeFolder) -> None:
    make_folder("secret")
    path = make_folder("model")
    (path / "model.safetensors").unlink()
    (path / "link").symlink_to("../secret/model.safetensors")
    (path / INDEX).write_text(json.dumps({"weight_map": {"model.norm.weight": entry}}))
    error = refused(path)
    assert "escapes the folder" in error.message and INDEX in str(error.field)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_link_out_of_the_folder_is_refused(file: str, make_folder: MakeFolder) -> None:
    secret, path = make_folder("secret"), make_folder("model")
    (path / file).unlink()
    (path / file).symlink_to(secret / file)
    assert "escapes" in refused(path).message


def test_a_tokenizer_linked_from_outside_is_not_copied(make_folder: MakeFolder, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET")
    path = make_folder()
    (path / "tokenizer.json").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(BadCheckpoint, match="escapes"):
        open_folder(path).files()


def test_a_snapshot_of_the_hubs_cache_links_into_its_own_blobs(make_folder: MakeFolder, tmp_path: Path) -> None:
    plain = make_folder()
    repository = tmp_path / "models--org--name"
    snapshot, blobs = repository / "snapshots" / "abc123", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in ("config.json", "model.safetensors"):
        (plain / file).rename(blobs / f"hash-{file}")
        (snapshot / file).symlink_to(f"../../blobs/hash-{file}")
    with open_folder(snapshot) as folder:
        assert (folder.name, folder.revision) == ("org/name", "abc123")
        assert folder["model.norm.weight"].shape == (4,)
    (snapshot / "model.safetensors").unlink()
    (tmp_path / "blobs").mkdir()
    (blobs / "hash-model.safetensors").rename(tmp_path / "blobs" / "x")
    (snapshot / "model.safetensors").symlink_to("../../../blobs/x")
    assert "escapes" in refused(snapshot).message


def test_an_index_that_does_not_fit_lists_its_faults(make_folder: MakeFolder) -> None:
    path = shard(make_folder("a"), {"model.norm.weight": "model-0.safetensors", "ghost": "gone.safetensors"})
    assert "not there: gone.safetensors" in refused(path).message
    path = shard(make_folder("b"), {"ghost": "model-0.safetensors"})
    message = refused(path).message
    assert "ghost is not in model-0.safetensors" in message and "is not listed" in message
    for weight_map in ({}, [], {"a": 1}):
        (path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
        assert "weight_map" in str(refused(path).field)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_weight_file(make_folder: MakeFolder) -> None:
    path = make_folder(weights={})
    os.mkfifo(path / "model.safetensors")
    assert refused(path)


def test_a_file_replaced_after_the_check_is_noticed(make_folder: MakeFolder) -> None:
    folder = open_folder(make_folder())
    file = folder.path / "model.safetensors"
    save_file({"model.norm.weight": torch.zeros(100)}, file)
    with pytest.raises(BadCheckpoint, match="changed while it was in use"):
        folder["model.norm.weight"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts handles in /proc")
def test_handles_end_with_the_folder(make_folder: MakeFolder) -> None:
    path = make_folder()
    gc.collect()  # handles of other tests
    before = len(os.listdir("/proc/self/fd"))
    with open_folder(path) as folder:
        folder["model.norm.weight"]
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before
    dropped = open_folder(path)
    dropped["model.norm.weight"]
    del dropped
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_description_identifies_without_a_path(make_folder: MakeFolder, tmp_path: Path) -> None:
    with open_folder(make_folder(files={"tokenizer.json": "{}"})) as folder:
        told = folder.describe(content=True)
    assert (told["name"], told["bytes"], told["tensors"], told["dtype"]) == ("model", 336, 5, ["float32"])
    assert sorted(told["sha256"]) == ["config.json", "model.safetensors", "model.safetensors header", "tokenizer.json"]
    assert told["sha256"]["tokenizer.json"].startswith("44136fa355b3678a")  # SHA-256 of "{}"
    assert str(tmp_path) not in json.dumps(told)


def test_open_checkpoint_takes_a_model_folder(make_folder: MakeFolder) -> None:
    assert open_checkpoint(make_folder()).name == "model"
