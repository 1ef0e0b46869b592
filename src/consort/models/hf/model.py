"""Causal models of transformers as token models: from a folder, from the hub, or from any checkpoint."""

from __future__ import annotations

import inspect
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from consort.core.errors import BadCheckpoint, BadData, BadParameter, Incompatible, Unsupported, listing
from consort.models.base import Session, Tokenizer
from consort.models.hf.quiet import quiet
from consort.models.token_model import TokenModel
from consort.models.tokens.tokenizer import ByteTokenizer, first_id, load_tokenizer, one_line
from consort.weights.checkpoint import Checkpoint
from consort.weights.disk.folder import open_folder
from consort.weights.disk.paths import read_json

if TYPE_CHECKING:
    from consort.models.hf.row_session import Opener

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


class HFModel(TokenModel):
    """A transformers causal model in evaluation mode with its tokenizer.

    `ends` are the tokens that end an answer; `source` is what it was loaded from (a folder or a checkpoint) and
    `tokenizer_choice` the tokenizer asked for in place of the model's own, so that a plan can name it again.
    """

    def __init__(
        self,
        name: str,
        module: Any,
        tokenizer: Tokenizer,
        *,
        ends: Iterable[int] = (),
        source: Path | str | Checkpoint | None = None,
        tokenizer_choice: str | None = None,
    ) -> None:
        self.name, self.module, self.tokenizer = name, module.eval(), tokenizer
        self.source, self.tokenizer_choice = source, tokenizer_choice
        self.arguments = frozenset(inspect.signature(module.forward).parameters)
        text = module.config.get_text_config(decoder=True)
        self.window: int | None = getattr(text, "max_position_embeddings", None)
        self.vocabulary: int = text.vocab_size
        # a CPU is fastest while batches fit its caches
        self.batch_tokens = 4096 if self.device.type == "cpu" else 65536
        self._ends = frozenset(ends) or super().ends

    @property
    def ends(self) -> frozenset[int]:
        return self._ends

    @property
    def device(self) -> torch.device:
        return torch.device(self.module.device)

    def no_logits(self) -> Tensor:
        """What an empty feed gives."""
        return torch.empty(0, self.vocabulary, device=self.device)

    def check_feed(self, lengths: Sequence[int], tokens: Sequence[Sequence[int]]) -> None:
        """Raise BadData if rows of these lengths cannot go on with these tokens."""
        longest = max((length + len(new) for length, new in zip(lengths, tokens, strict=True) if new), default=0)
        if self.window is not None and longest > self.window:
            raise BadData(f"{longest} tokens are more than the context window, {self.window}", field=self.name)
        for new in tokens:
            if new and not 0 <= min(new) <= max(new) < self.vocabulary:
                wrong = max(new) if min(new) >= 0 else min(new)
                hint = "the tokenizer is not the model's"
                raise BadData(f"there is no token {wrong} among {self.vocabulary}", field=self.name, hint=hint)

    @cached_property
    def _opener(self) -> Opener:
        from consort.models.hf.row_session import find_opener

        return find_opener(self)

    def open(self, batch: int = 1) -> Session:
        return self._opener(batch)

    @torch.no_grad()
    def load_weights(self, checkpoint: Checkpoint) -> None:
        """Replace all weights by those of `checkpoint`, tensor by tensor, in place where the names are the module's.

        Sessions opened before are void. Raises Incompatible, before anything is changed, if the names or shapes
        are not those of this model.
        """
        own, names = dict(self.module.state_dict(keep_vars=True)), checkpoint.keys()
        if not set(names) <= set(own):
            with tempfile.TemporaryDirectory(prefix="consort-") as spare:
                _write_files(checkpoint, Path(spare))
                self.module = _build(checkpoint, Path(spare), self.module.dtype, self.device).eval()
            return
        _check_weights(self.name, own, checkpoint)
        filled: set[int] = set()
        for name in names:
            if own[name].data_ptr() not in filled:
                _fill(own[name], checkpoint, name)
                filled.add(own[name].data_ptr())
        for part in self.module.modules():
            if getattr(part, "layers_are_rescaled", False):  # rwkv scales its weights at its first pass
                part.layers_are_rescaled = False


def _check_weights(model: str, own: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    given = checkpoint.keys()
    covered = {own[name].data_ptr() for name in given}
    missing = [name for name, tensor in own.items() if tensor.data_ptr() not in covered]
    if missing:
        raise Incompatible(f"lacks {listing(missing)}", field=checkpoint.name, hint=f"{model} needs these tensors")
    shapes = ((n, checkpoint.spec(n).shape, tuple(own[n].shape)) for n in given)
    wrong = [f"{name} is {list(has)} instead of {list(wants)}" for name, has, wants in shapes if has != wants]
    if wrong:
        raise Incompatible(listing(wrong), field=checkpoint.name, hint=f"it must have the shapes of {model}")


def _fill(parameter: Tensor, checkpoint: Checkpoint, name: str) -> None:
    if parameter.device.type == "cpu" and parameter.is_contiguous():
        checkpoint.read_into(name, 0, parameter.numel(), parameter.data.view(-1))
    else:
        parameter.copy_(checkpoint[name])


def load_model(
    source: Path | str | Checkpoint,
    *,
    tokenizer: str | None = None,
    dtype: str = "float32",
    device: str | torch.device | None = None,
    name: str | None = None,
    allow_remote_code: bool = False,
) -> HFModel:
    """A model from a folder, from the hub (`hf:ORG/NAME`), or from any checkpoint, whose tensors are read one by one.

    `tokenizer` is a folder that has one, or "bytes" where the bytes of the text are the tokens; by default it is the
    model's own. Only safetensors are read. `device` is the GPU if there is one. Raises BadCheckpoint for a folder that
    is missing, damaged, of pickles, or whose tensors are not those of the architecture (missing and unexpected ones
    are named), and if it would need remote code that is not allowed.
    """
    if dtype not in DTYPES:
        raise BadParameter(f"{dtype!r} is no dtype", field="dtype", hint=f"one of {', '.join(DTYPES)}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    checkpoint = _opened(source, allow_remote_code) if isinstance(source, str | Path) else source
    if checkpoint.config.get("auto_map") and not allow_remote_code:
        hint = "read that code, then pass --allow-remote-code (allow_remote_code=True) if you trust it"
        raise BadCheckpoint("the model brings its own code", field=checkpoint.name, hint=hint)
    with tempfile.TemporaryDirectory(prefix="consort-") as spare:
        files = Path(spare)
        _write_files(checkpoint, files)
        texts = _tokenizer(tokenizer, checkpoint, files, allow_remote_code)
        ends = _ends(files, checkpoint, texts)
        module = _build(checkpoint, files, DTYPES[dtype], place, allow_remote_code)
    origin = checkpoint if not isinstance(source, str | Path) else source
    return HFModel(name or checkpoint.name, module, texts, ends=ends, source=origin, tokenizer_choice=tokenizer)


def own_tokenizer(checkpoint: Checkpoint, *, choice: str | None = None, allow_remote_code: bool = False) -> Tokenizer:
    """The tokenizer that a model of `checkpoint` would have, without its weights; `choice` as in `load_model`."""
    with tempfile.TemporaryDirectory(prefix="consort-") as spare:
        _write_files(checkpoint, Path(spare))
        return _tokenizer(choice, checkpoint, Path(spare), allow_remote_code)


def _opened(source: Path | str, allow_remote_code: bool) -> Checkpoint:
    text = str(source)
    folder = _download(text.removeprefix("hf:")) if text.startswith("hf:") else Path(source)
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


def _write_files(checkpoint: Checkpoint, folder: Path) -> None:
    """What transformers wants to read from a folder: the config and all that goes beside the weights."""
    (folder / "config.json").write_text(json.dumps(dict(checkpoint.config)), "utf-8")
    for name, content in checkpoint.files().items():
        if Path(name).name != name:
            raise BadCheckpoint(f"file {name!r} escapes the folder", field=checkpoint.name)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())


def _tokenizer(choice: str | None, checkpoint: Checkpoint, files: Path, allow_remote_code: bool) -> Tokenizer:
    config = checkpoint.config
    if choice == "bytes":
        size = config.get("vocab_size", 0)
        if size < 256:
            raise Incompatible(f"a vocabulary of {size} tokens is less than the 256 bytes", field=checkpoint.name)
        return ByteTokenizer(bos=first_id(config, "bos_token_id"), eos=first_id(config, "eos_token_id"))
    folder, label = (files, checkpoint.name) if choice is None else (Path(choice), choice)
    return load_tokenizer(folder, label, config=config, allow_remote_code=allow_remote_code)


def _ends(files: Path, checkpoint: Checkpoint, tokenizer: Tokenizer) -> set[int]:
    file = files / "generation_config.json"
    found = {tokenizer.eos, first_id(checkpoint.config, "eos_token_id")}
    try:
        several = read_json(file).get("eos_token_id") if file.is_file() else None
    except BadCheckpoint as error:  # the file lies in a folder that is gone soon
        raise BadCheckpoint(error.message, field=f"{checkpoint.name}: {file.name}", hint=error.hint) from None
    found.update(several if isinstance(several, list) else [several])
    return {token for token in found if isinstance(token, int)}


class _Lazy:
    """A tensor of a checkpoint that is read when transformers asks for it."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self.checkpoint, self.name = checkpoint, name

    def __getitem__(self, _: Any) -> Tensor:
        return self.checkpoint[self.name]


def _build(
    checkpoint: Checkpoint, files: Path, dtype: torch.dtype, device: torch.device, allow_remote_code: bool = False
) -> Any:
    """The module with its weights; every tensor of the checkpoint used, every one of the module given."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM

    kinds = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, ImportError)
    names = checkpoint.keys()
    with quiet():
        try:
            config = AutoConfig.from_pretrained(files, trust_remote_code=allow_remote_code, local_files_only=True)
            _check_causal(config, checkpoint.name)
            with torch.device("meta"):  # only to learn the class
                empty = AutoModelForCausalLM.from_config(config, trust_remote_code=allow_remote_code)
            _check_size(empty, checkpoint)
            tensors = {name: _Lazy(checkpoint, name) for name in names}
            module, found = type(empty).from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are reported, and refused below
            )
        except (*kinds, StrictDataclassError) as error:
            raise BadCheckpoint(f"cannot be loaded: {one_line(error)}", field=checkpoint.name) from error
    if faults := list(_faults(found)):
        hint = "weights and config.json do not belong together"
        raise BadCheckpoint(listing(faults), field=checkpoint.name, hint=hint)
    _check_tied(module, checkpoint.name)
    return module.to(device)


def _check_causal(config: Any, name: str) -> None:
    """Raise Unsupported for an architecture that does not write on from a text."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or hasattr(config, "auto_map")
    if not known or config.is_encoder_decoder:
        hint = "take one that AutoModelForCausalLM loads"
        raise Unsupported(f"{config.model_type} is no architecture of causal language models", field=name, hint=hint)


def _check_size(empty: Any, checkpoint: Checkpoint) -> None:
    """Raise BadCheckpoint for a config that describes far more than there is, before memory is taken for it."""
    described = sum(parameter.numel() for parameter in empty.parameters())
    given = sum(math.prod(checkpoint.spec(name).shape) for name in checkpoint.keys())
    if described > 4 * given:
        message = f"config.json describes {described} parameters, the weights have {given}"
        hint = "weights and config.json do not belong together"
        raise BadCheckpoint(message, field=checkpoint.name, hint=hint)


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
