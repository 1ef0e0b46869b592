"""What the files of a model folder show before a tensor is read: configuration, index and headers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from os.path import abspath, isfile
from pathlib import Path
from typing import Any

from consort.core.errors import BadCheckpoint, listing
from consort.core.files import machine_errors
from consort.weights.disk.codes import TORCH_NAMES
from consort.weights.disk.config_check import check_config
from consort.weights.disk.header import Header, read_header
from consort.weights.disk.paths import inside, read_json
from consort.weights.disk.quantised import QUANTISATION, is_quantised_config, not_mergeable

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
)
"""Files that travel with the weights."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
OTHER_FORMATS = (".gguf", ".ggml", ".h5", ".msgpack", ".onnx", ".npz")


def check_folder(path: Path, *, allow_remote_code: bool = False) -> None:
    """Raise BadCheckpoint, Unsupported for what a model folder shows of being none, naming the file at fault."""
    headers = read_headers(path, SINGLE, INDEX)  # first, so that a folder of pickles is called that
    shapes = {name: extent.shape for header in headers.values() for name, extent in header.tensors.items()}
    check_config(read_config(path, allow_remote_code=allow_remote_code), shapes, str(path / CONFIG))


def label(path: Path) -> tuple[str, str | None]:
    """Name and revision of a folder: its own name, or repository and commit in the hub's cache."""
    path = Path(abspath(path))
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/"), path.name
    return path.name or "model", None


def check_directory(path: Path) -> None:
    """Raise BadCheckpoint for what is no directory."""
    with machine_errors(path):
        exists, is_directory = path.exists(), path.is_dir()
    if not exists:
        hint = "check the spelling; models of the hub are written hf:ORG/NAME"
        raise BadCheckpoint("directory does not exist", field=str(path), hint=hint)
    if not is_directory:
        raise BadCheckpoint("is no directory", field=str(path), hint="give the folder that holds config.json")


def read_config(path: Path, *, allow_remote_code: bool = False) -> dict[str, Any]:
    """The configuration of a model folder, refused if it asks for code of its own or says the weights are quantised."""
    check_directory(path)
    file = inside(path, CONFIG, source=CONFIG)
    if not file.is_file():
        kind = "this is an adapter: open it over its base model" if (path / "adapter_config.json").is_file() else None
        raise BadCheckpoint("does not exist", field=str(file), hint=kind or "a model folder needs its configuration")
    config = read_json(file)
    remote = [key for key in ("auto_map", "model_file") if config.get(key)]
    if remote and not allow_remote_code:
        hint = "read that code, then pass --allow-remote-code (allow_remote_code=True) if you trust it"
        raise BadCheckpoint("the model brings its own code", field=f"{file}: {remote[0]}", hint=hint)
    if is_quantised_config(config):
        raise not_mergeable(f"{file}: {QUANTISATION}")
    return config


def read_headers(path: Path, single: str, index: str | None) -> dict[Path, Header]:
    """The checked header of each weight file of a folder: `single`, or what `index` lists, or the only one there is."""
    check_directory(path)
    if index and not (path / single).is_file() and (path / index).is_file():
        return _read_indexed(path, index)
    file = path / single
    if not file.is_file():
        file = _only_file(path, single)
    headers = {inside(path, file.name, source=file.name): read_header(file)}
    _check_readable(headers)
    return headers


def _read_indexed(path: Path, index: str) -> dict[Path, Header]:
    weight_map = _weight_map(inside(path, index, source=index))
    files = {entry: inside(path, entry, source=index) for entry in dict.fromkeys(weight_map.values())}
    absent = [entry for entry, file in files.items() if not isfile(file)]
    if absent:
        message = f"names files that are not there: {listing(absent)}"
        raise BadCheckpoint(message, field=str(path / index), hint="the download is incomplete")
    headers = {entry: read_header(file) for entry, file in files.items()}
    faults = [f"{name} is not in {file}" for name, file in weight_map.items() if name not in headers[file].tensors]
    for entry, header in headers.items():
        faults += [f"{name} of {entry} is not listed" for name in header.tensors if weight_map.get(name) != entry]
    if faults:
        hint = "index and weights are of different models: download or save both again"
        raise BadCheckpoint(listing(faults), field=str(path / index), hint=hint)
    found = {files[entry]: header for entry, header in headers.items()}
    _check_readable(found)
    return found


def _weight_map(index: Path) -> dict[str, str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()) or not weight_map:
        hint = "it should map tensor names to file names"
        raise BadCheckpoint("is no object of strings", field=f"{index}: weight_map", hint=hint)
    return weight_map


def _only_file(path: Path, wanted: str) -> Path:
    """The one safetensors file of a folder whose file has another name; else an error that says what is there."""
    files = sorted(path.iterdir())
    tensors = [file for file in files if file.suffix == ".safetensors" and not file.name.startswith("adapter_")]
    if len(tensors) == 1 and not wanted.startswith("adapter_"):
        return tensors[0]
    if tensors:
        raise BadCheckpoint(f"{len(tensors)} weight files without an index", field=str(path), hint=f"add {INDEX}")
    pickles = [file.name for file in files if file.suffix in PICKLES]
    if pickles:
        message = f"only pickle weights ({listing(pickles, 3)}), which can run code when opened"
        hint = "convert once where you trust them: from_pretrained(folder).save_pretrained(new_folder)"
        raise BadCheckpoint(message, field=str(path), hint=hint)
    others = [file.name for file in files if file.suffix in OTHER_FORMATS]
    found = f"only {listing(others, 3)}" if others else "no weights"
    raise BadCheckpoint(f"{found} in the folder", field=str(path), hint=f"it should hold {wanted}")


def _check_readable(headers: Mapping[Path, Header]) -> None:
    for path, header in headers.items():
        strange = [f"{name} ({e.code})" for name, e in header.tensors.items() if e.code not in TORCH_NAMES]
        if strange:
            raise not_mergeable(str(path), f"tensors of a packed dtype: {listing(strange)}")
