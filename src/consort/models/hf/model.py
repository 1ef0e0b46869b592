"""A causal model of transformers as a token model."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from consort.core.errors import BadData, Incompatible, listing
from consort.models.base import Session, Tokenizer
from consort.models.hf.build import Placing, build_module, write_files
from consort.models.hf.choose import Opener, find_opener
from consort.models.placement import OPEN, Placement
from consort.models.token_model import TokenModel
from consort.weights.checkpoint import Checkpoint

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""How configs call the number of a layer's experts."""


class HFModel(TokenModel):
    """A transformers causal model in evaluation mode with its tokenizer.

    `ends` are the tokens that end an answer; `source` is what it was loaded from (a folder or a checkpoint) and
    `tokenizer_choice` the tokenizer asked for in place of the model's own, so that a plan can name it again;
    `placement` is what was asked for of its own dtype and device.
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
        placement: Placement = OPEN,
    ) -> None:
        self.name, self.module, self.tokenizer = name, module.eval(), tokenizer
        self.source, self.tokenizer_choice, self.placement = source, tokenizer_choice, placement
        self.arguments = frozenset(inspect.signature(module.forward).parameters)
        text = module.config.get_text_config(decoder=True)
        self.window: int | None = getattr(text, "max_position_embeddings", None)
        self.vocabulary: int = text.vocab_size
        # a CPU is fastest while batches fit its caches
        self.batch_tokens = 4096 if self.device.type == "cpu" else 65536
        self._ends = frozenset(ends) or super().ends

    def __repr__(self) -> str:
        return f"HFModel({self.name!r})"

    @property
    def ends(self) -> frozenset[int]:
        return self._ends

    @property
    def device(self) -> torch.device:
        """Where its tokens go: where the input embeddings are, or, if they are kept elsewhere, where they work."""
        read = self.module.get_input_embeddings()
        found = read.weight.device
        return torch.device(read._hf_hook.execution_device if found.type == "meta" else found)

    @property
    def parameters(self) -> int | None:
        """Weights at work for one token: of experts only as many as a token goes to; None of quantised weights."""
        return None if getattr(self.module, "is_quantized", False) else active_parameters(self.module)

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
                write_files(checkpoint, Path(spare))
                self.module = build_module(checkpoint, Path(spare), Placing(self.module.dtype, self.device)).eval()
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


def active_parameters(module: Any) -> int:
    """Parameters of a network that work for one token; those of a layer's experts count by the share that is chosen."""
    config = module.config.get_text_config(decoder=True)
    experts = next((n for name in EXPERTS if (n := getattr(config, name, None))), 1)
    chosen = getattr(config, "num_experts_per_tok", None) or experts
    found = dict(module.named_parameters())
    of_experts = sum(parameter.numel() for name, parameter in found.items() if ".experts." in name)
    return int(sum(p.numel() for p in found.values()) - of_experts + of_experts * chosen // experts)


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
