"""Models from folders, from the hub, or from any checkpoint: tokenizer, ends, dtype and device with them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from consort.core.dtypes import FloatName, dtype_name, torch_dtype
from consort.core.errors import BadCheckpoint, Incompatible
from consort.models.base import Tokenizer
from consort.models.devices import choose_device
from consort.models.hf.build import Described, Placing, build_module, write_files
from consort.models.hf.model import HFModel
from consort.models.hf.quantised import QuantisedFolder, build_quantised, quantised_folder
from consort.models.placement import AUTO, Placement, current
from consort.models.tokens.tokenizer import ByteTokenizer, first_id, load_tokenizer, one_line
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.folder import open_folder
from consort.weights.disk.paths import read_json


def load_model(
    source: Path | str | Checkpoint,
    *,
    tokenizer: str | None = None,
    dtype: FloatName | Literal["auto"] | torch.dtype | None = None,
    device: str | torch.device | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    template: str | None = None,
    name: str | None = None,
    allow_remote_code: bool = False,
) -> HFModel:
    """A model from a folder, from the hub (`hf:ORG/NAME`), or from any checkpoint, whose tensors are read one by one.

    `tokenizer` is a folder that has one, or "bytes" where the bytes of the text are the tokens; by default it is the
    model's own. Only safetensors are read.

    `dtype` is what the weights are held and computed in: a name, "auto" for the checkpoint's own, by default float32.
    `device` is cpu, cuda, cuda:1, mps, by default the first GPU of CUDA if there is one; in its place `device_map`
    spreads the model over several devices through accelerate, as transformers takes it ("auto", or a mapping).
    `template` says how chats are written: `own`, by the model's template, and where it has none as lines, which is
    told; `required`, refused where it has none; `none`, always as lines.
    Where one of them is not given, what `placement.held` says holds.
    A quantised folder (bitsandbytes, GPTQ, AWQ, fp8, compressed-tensors, ...) is left to transformers and its package.

    Raises BadCheckpoint for a folder that is missing, damaged, of pickles, or whose tensors are not those of the
    architecture (missing and unexpected ones are named), and if it would need remote code that is not allowed;
    BadParameter for a dtype or device that is none, MissingExtra for a `device_map` without accelerate.
    """
    asked = Placement(
        dtype_name(dtype) if isinstance(dtype, torch.dtype) else dtype,
        None if device is None else str(device),
        device_map,
        template,
    )
    placing = _placing(asked.check().over(current()))
    checkpoint = _opened(source, allow_remote_code) if isinstance(source, str | Path) else source
    if checkpoint.config.get("auto_map") and not allow_remote_code:
        hint = "read that code, then pass --allow-remote-code (allow_remote_code=True) if you trust it"
        raise BadCheckpoint("the model brings its own code", field=checkpoint.name, hint=hint)
    with tempfile.TemporaryDirectory(prefix="consort-") as spare:
        files = Path(spare)
        write_files(checkpoint, files)
        texts = _tokenizer(tokenizer, checkpoint, files, template, allow_remote_code)
        ends = _ends(files, checkpoint, texts)
        if isinstance(checkpoint, QuantisedFolder):
            module = build_quantised(checkpoint, placing, allow_remote_code)
        else:
            module = build_module(checkpoint, files, placing, allow_remote_code)
    return HFModel(
        name or checkpoint.name,
        module,
        texts,
        ends=ends,
        source=source,
        tokenizer_choice=tokenizer,
        placement=asked,
    )


def _placing(asked: Placement) -> Placing:
    """The objects that a placement names."""
    held: torch.dtype | Literal["auto"] | None = None
    if asked.dtype is not None:
        held = "auto" if asked.dtype == AUTO else torch_dtype(asked.dtype)
    if asked.device_map is not None:
        return Placing(held, torch.device("cpu"), asked.device_map)
    return Placing(held, choose_device(asked.device))


def own_tokenizer(checkpoint: Checkpoint, *, choice: str | None = None, allow_remote_code: bool = False) -> Tokenizer:
    """The tokenizer that a model of `checkpoint` would have, without its weights; `choice` as in `load_model`."""
    with tempfile.TemporaryDirectory(prefix="consort-") as spare:
        write_files(checkpoint, Path(spare))
        return _tokenizer(choice, checkpoint, Path(spare), None, allow_remote_code)


def _opened(source: Path | str, allow_remote_code: bool) -> Checkpoint | QuantisedFolder:
    text = str(source)
    folder = _download(text.removeprefix("hf:")) if text.startswith("hf:") else Path(source)
    if quantised := quantised_folder(folder, allow_remote_code=allow_remote_code):
        return quantised
    return open_folder(folder, allow_remote_code=allow_remote_code)


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise BadCheckpoint(
            one_line(error), field=f"hf:{repository}", hint="is the name right, and the hub in reach?"
        ) from error


def _tokenizer(
    choice: str | None, checkpoint: Described, files: Path, template: str | None, allow_remote_code: bool
) -> Tokenizer:
    config = checkpoint.config
    if choice == "bytes":
        size = config.get("vocab_size", 0)
        if size < 256:
            raise Incompatible(f"a vocabulary of {size} tokens is less than the 256 bytes", field=checkpoint.name)
        bos, eos = first_id(config, "bos_token_id"), first_id(config, "eos_token_id")
        return ByteTokenizer(bos=bos, eos=eos, name=checkpoint.name, template=template)
    folder, label = (files, checkpoint.name) if choice is None else (Path(choice), choice)
    return load_tokenizer(folder, label, config=config, template=template, allow_remote_code=allow_remote_code)


def _ends(files: Path, checkpoint: Described, tokenizer: Tokenizer) -> set[int]:
    file = files / "generation_config.json"
    found = {tokenizer.eos, first_id(checkpoint.config, "eos_token_id")}
    try:
        several = read_json(file).get("eos_token_id") if file.is_file() else None
    except BadCheckpoint as error:  # the file lies in a folder that is gone soon
        raise BadCheckpoint(error.message, field=f"{checkpoint.name}: {file.name}", hint=error.hint) from None
    found.update(several if isinstance(several, list) else [several])
    return {token for token in found if isinstance(token, int)}
