"""A finished model folder: plain Hugging Face files and a card, complete under its own name or not there at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from consort.lab.tokenizers import BOS, EOS, PAD, UNK
from consort.train.lora import Lora, save_adapter

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_PARTIAL = ".partial"

CONTEXT = 256
"""Tokens that every model of the lab can read."""

DTYPE = torch.float16
"""Of shipped weights. An expert differs from its base by about one step of bfloat16, by eight steps of float16."""


def make(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder of a temporary name, then give it its own; nothing is done if it exists already."""
    if folder.exists():
        return
    partial = folder.with_name(folder.name + _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    for file in partial.iterdir():
        file.chmod(0o644)  # safetensors writes files that only their owner can read; these are packaged
    partial.rename(folder)
    state_file(folder).unlink(missing_ok=True)


def final_name(folder: Path) -> str:
    """The name that a folder has, or will have once it is complete."""
    return folder.name.removesuffix(_PARTIAL)


def state_file(folder: Path) -> Path:
    """Where the state of a training run is kept until its folder is complete."""
    return folder.with_name(f"{final_name(folder)}.state.safetensors")


def write_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    *,
    about: str,
    base: str | None = None,
    tags: Sequence[str] = (),
) -> None:
    """Write weights (as `DTYPE`), configuration, tokenizer and card into `folder`."""
    model.to(DTYPE).save_pretrained(folder)
    wrap(tokenizer).save_pretrained(folder)
    write_card(folder, about=about, base=base, tags=tags)


def write_adapter(folder: Path, model: nn.Module, lora: Lora, *, about: str, base: str) -> None:
    """Write an adapter in peft's format and its card into `folder`."""
    save_adapter(model, folder, lora, base=base, dtype=DTYPE)
    write_card(folder, about=about, base=base, tags=("peft", "lora"), library="peft")


def write_card(
    folder: Path, *, about: str, base: str | None, tags: Sequence[str], library: str = "transformers"
) -> None:
    """README.md with the front matter the hub reads; `base_model` is the name of a sibling folder."""
    lines = ["---", "license: apache-2.0", f"library_name: {library}"]
    lines += [f"base_model: {base}"] if base else []
    lines += ["tags:", *(f"- {tag}" for tag in ("consort-lab", *tags)), "---", "", f"# {final_name(folder)}", "", about]
    lines += ["", "Trained by `consort lab train` from scratch, for demonstration and tests; of no other use.", ""]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers knows it."""
    from transformers import PreTrainedTokenizerFast

    unknown = {"unk_token": UNK} if UNK in tokenizer.get_vocab() else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **unknown,
    )


def read_tokenizer(folder: Path) -> Tokenizer:
    """The bare tokenizer of a model folder."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def read_model(folder: Path) -> PreTrainedModel:
    """The causal language model of a folder in float32, ready to read with."""
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval()


def read_classifier(folder: Path) -> PreTrainedModel:
    """The sequence classifier of a folder in float32, ready to read with."""
    from transformers import AutoModelForSequenceClassification

    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    return model.eval()
