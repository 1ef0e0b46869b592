"""Modules of transformers built from a checkpoint, whose tensors are read one by one: exact, or refused by name."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from consort.core.errors import BadCheckpoint, Unsupported, listing
from consort.models.hf.quiet import quiet
from consort.models.tokens.tokenizer import one_line
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.folder import Folder


class Described(Protocol):
    """What is known of a model without its tensors; a `Checkpoint` is one."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> Mapping[str, Any]: ...

    def files(self) -> Mapping[str, Path | bytes]: ...


def write_files(checkpoint: Described, folder: Path) -> None:
    """What transformers wants to read from a folder: the config and all that goes beside the weights."""
    (folder / "config.json").write_text(json.dumps(dict(checkpoint.config)), "utf-8")
    for name, content in checkpoint.files().items():
        if Path(name).name != name:
            raise BadCheckpoint(f"file {name!r} escapes the folder", field=checkpoint.name)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())


class _Lazy:
    """A tensor of a checkpoint that is read when transformers asks for it."""

    def __init__(self, checkpoint: Checkpoint, name: str, by_row: bool = False) -> None:
        self.checkpoint, self.name, self.by_row = checkpoint, name, by_row

    def __getitem__(self, _: Any) -> Tensor:
        if self.by_row and isinstance(self.checkpoint, Folder):
            found = self.checkpoint.shards.mapped(self.name)
            if found is not None:
                return found
        return self.checkpoint[self.name]


@dataclass(frozen=True, slots=True)
class Placing:
    """In which dtype a module is held ("auto": that of the checkpoint, None: the default), and where it goes."""

    dtype: torch.dtype | Literal["auto"] | None
    device: torch.device
    device_map: str | Mapping[str, Any] | None = None


KINDS = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, ImportError)
"""What transformers raises for a folder that it cannot load, beside its own errors."""


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """What transformers raises while it loads, as BadCheckpoint of the checkpoint `name`."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (*KINDS, StrictDataclassError) as error:
        hint = "is the folder whole, and the installed transformers new enough for its architecture?"
        raise BadCheckpoint(f"cannot be loaded: {one_line(error)}", field=name, hint=hint) from error


def build_module(checkpoint: Checkpoint, files: Path, placing: Placing, allow_remote_code: bool = False) -> Any:
    """The module with its weights; every tensor of the checkpoint used, every one of the module given."""
    from transformers import AutoConfig

    with quiet(), load_errors(checkpoint.name):
        config = AutoConfig.from_pretrained(files, trust_remote_code=allow_remote_code, local_files_only=True)
        kind = causal_class(config, checkpoint.name)
        with torch.device("meta"):  # only to learn the class
            empty = kind.from_config(config, trust_remote_code=allow_remote_code)
        _check_size(empty, checkpoint)
        rows = _read_by_row(empty)
        module, found = type(empty).from_pretrained(
            None,
            config=config,
            state_dict={name: _Lazy(checkpoint, name, name in rows) for name in checkpoint.keys()},
            dtype=_dtype(placing, checkpoint),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused below
            **(options := placed(placing)),
        )
    drop_with(module, options)
    if faults := list(_faults(found)):
        hint = "weights and config.json do not belong together"
        raise BadCheckpoint(listing(faults), field=checkpoint.name, hint=hint)
    _check_tied(module, checkpoint.name)
    return module if placing.device_map is not None else module.to(placing.device)


def _dtype(placing: Placing, checkpoint: Checkpoint) -> torch.dtype:
    """The dtype to hold weights in; "auto" is the floating dtype that most numbers of the checkpoint have."""
    if placing.dtype != "auto":
        return placing.dtype or torch.float32
    numbers: Counter[torch.dtype] = Counter()
    for name in checkpoint.keys():
        spec = checkpoint.spec(name)
        if spec.dtype.is_floating_point:
            numbers[spec.dtype] += spec.numel
    return numbers.most_common(1)[0][0] if numbers else torch.float32


def placed(placing: Placing) -> dict[str, Any]:
    """What `from_pretrained` is told of devices; parts that a map puts on the disk lie in a folder of their own."""
    if placing.device_map is None:
        return {}
    return {"device_map": placing.device_map, "offload_folder": tempfile.mkdtemp(prefix="consort-offload-")}


def drop_with(module: Any, options: Mapping[str, Any]) -> None:
    """Let the folder of parts on the disk go with the module."""
    if "offload_folder" in options:
        weakref.finalize(module, shutil.rmtree, options["offload_folder"], ignore_errors=True)


def causal_class(config: Any, name: str) -> Any:
    """The Auto class that builds a model which writes on from a text.

    Raises Unsupported for an architecture that does not: encoders, encoders with a decoder, and what is no model of
    language.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto import modeling_auto as auto

    kind, made = config.model_type, list(config.architectures or ())
    seeing = getattr(auto, "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", {}).get(kind)
    known = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or hasattr(config, "auto_map")
    if config.is_encoder_decoder or not (known or seeing):
        hint = "take one that AutoModelForCausalLM loads"
        raise Unsupported(f"{kind} is no architecture of causal language models", field=name, hint=hint)
    # GPT-NeoX carries `is_decoder: false` as well; of a kind that also fills masks it says what the weights are for
    masked = kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES and getattr(config, "is_decoder", True) is False
    if masked or getattr(config, "causal", True) is False:
        hint = "take a model that was trained to write on from a text; an encoder sees what follows, too"
        raise Unsupported(f"{kind} is an encoder here, no causal language model", field=name, hint=hint)
    return AutoModelForImageTextToText if seeing and (seeing in made or not known) else AutoModelForCausalLM


def _check_size(empty: Any, checkpoint: Checkpoint) -> None:
    """Raise BadCheckpoint for a config that describes far more than there is, before memory is taken for it."""
    described = sum(parameter.numel() for parameter in empty.parameters())
    given = sum(math.prod(checkpoint.spec(name).shape) for name in checkpoint.keys())
    if described > 4 * given:
        message = f"config.json describes {described} parameters, the weights have {given}"
        hint = "weights and config.json do not belong together"
        raise BadCheckpoint(message, field=checkpoint.name, hint=hint)


def _read_by_row(empty: Any) -> set[str]:
    """The name of input embeddings that nothing else uses: a text touches a few of their rows."""
    read, written = empty.get_input_embeddings(), empty.get_output_embeddings()
    if read is None or (written is not None and empty.config.get_text_config(decoder=True).tie_word_embeddings):
        return set()
    return {name for name, parameter in empty.named_parameters() if parameter is getattr(read, "weight", None)}


def _faults(found: Mapping[str, Any]) -> Iterator[str]:
    """What transformers reports of a load that is not exact."""
    for name in sorted(found["missing_keys"] - {name for name, *_ in found["mismatched_keys"]}):
        yield f"lacks {name}"
    for name in sorted(found["unexpected_keys"]):
        yield f"has {name}, which the model has not"
    for name, has, wants in sorted(found["mismatched_keys"]):
        yield f"{name} is {list(has)} instead of {list(wants)}"
    yield from map(str, found["error_msgs"])


def _check_tied(module: Any, label: str) -> None:
    """Raise BadCheckpoint where the config ties embeddings that the weights tell apart."""
    text = module.config.get_text_config(decoder=True)
    read, written = module.get_input_embeddings(), module.get_output_embeddings()
    if read is None or written is None:
        return
    if getattr(text, "tie_word_embeddings", False) and written.weight is not read.weight:
        message = "config.json ties the output embeddings to the input's, but the weights have two different ones"
        raise BadCheckpoint(message, field=label, hint="set tie_word_embeddings to false, or drop one")
