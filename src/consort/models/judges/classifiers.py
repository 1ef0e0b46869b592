"""Opening sequence classifiers of transformers, for judges that are one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consort.core.errors import BadCheckpoint
from consort.models.hf.quiet import quiet
from consort.weights import Checkpoint, open_checkpoint

SAFE: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
"""How folders are opened: nothing is fetched, and no code of theirs is run."""


def opened(checkpoint: Checkpoint | str | Path) -> Checkpoint:
    """The checkpoint; a folder is opened."""
    return open_checkpoint(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint


def load_classifier(checkpoint: Checkpoint, what: str, outputs: int | None = None) -> tuple[Any, Any]:
    """Tokenizer and classifier, in float32, of a checkpoint's folder. Raises BadCheckpoint where it is not `what`."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = folder_of(checkpoint)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **SAFE
            )
    except (OSError, ValueError) as fault:
        hint = f"a folder of {what} and its tokenizer"
        raise BadCheckpoint(f"cannot be read as a classifier: {fault}", field=checkpoint.name, hint=hint) from None
    if outputs is not None and model.config.num_labels != outputs:
        message = f"has {model.config.num_labels} outputs"
        raise BadCheckpoint(message, field=checkpoint.name, hint="a reward model has one")
    if missing := sorted(info["missing_keys"]):  # a head that is not there would be made up at random
        hint = f"{what}, such as lab:reward"
        raise BadCheckpoint(f"has no {missing[0]}: it is no classifier", field=checkpoint.name, hint=hint)
    return tokenizer, model.eval()


def folder_of(checkpoint: Checkpoint) -> str:
    """The folder that a checkpoint was opened from. Raises BadCheckpoint for one that is computed."""
    path = getattr(checkpoint, "path", None)
    if path is None:
        raise BadCheckpoint("is not a folder", field=checkpoint.name, hint="save it first: consort merge PLAN OUT")
    return str(path)
