"""What a model's name stands for: a folder, a bundled model, a hub repository."""

from __future__ import annotations

import os
from pathlib import Path

from consort.core.errors import BadCheckpoint, BadData, UnknownName, Unsupported
from consort.data import Task, load_task
from consort.lab import path as lab_path

LAB = "lab:"
REMOTE = "openai:"
TABLE = "table:"
HUB = "hf:"
HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md")


def is_lab(text: str) -> bool:
    """Whether `text` names a bundled model or task."""
    return text.startswith(LAB)


def is_remote(text: str) -> bool:
    """Whether `text` names a model behind an endpoint (`openai:NAME@BASE_URL`)."""
    return text.startswith(REMOTE)


def is_table(text: str) -> bool:
    """Whether `text` names cached answers: one model's (`table:FILE#COLUMN`) or a whole table's (`table:FILE`)."""
    return text.startswith(TABLE)


def has_weights(text: str) -> bool:
    """Whether what `text` names lies here as weights, rather than behind an endpoint or as cached answers."""
    return not (is_remote(text) or is_table(text))


def open_task(text: str | Path, *, allow_code: bool = False) -> Task:
    """The task that a path names; of `table:FILE` the table's own prompts, graded by the quality that it tells."""
    if is_table(str(text)):
        from consort.models.cached.model import open_table, split_reference

        file, column = split_reference(str(text))
        if column:
            raise BadData("names one model's answers", field=str(text), hint=f"a task is a whole table: {TABLE}{file}")
        return open_table(file).task()
    return load_task(task_path(text), allow_code=allow_code)


def task_path(text: str | Path) -> Path:
    """The file or folder of a task, which may be a bundled one (`lab:tasks/skills`)."""
    if not str(text):
        raise BadData("the task's path is empty", field="task", hint="a file, a folder or lab:tasks/NAME")
    return folder_of(str(text)) if is_lab(str(text)) else Path(text)


def folder_of(text: str) -> Path:
    """The folder that a reference names; a hub repository is fetched (or found in the local hub cache) first."""
    if not text:
        raise BadCheckpoint("a model's name is empty", field="MODEL", hint="a folder, lab:NAME or hf:ORG/NAME")
    if is_table(text):
        raise Unsupported("cached answers have no weights", field=text, hint="a folder, lab:NAME or hf:ORG/NAME")
    if is_remote(text):
        raise Unsupported("a remote model has no weights", field=text, hint="a folder, lab:NAME or hf:ORG/NAME")
    if is_lab(text):
        return _bundled(text)
    if text.startswith(HUB):
        return _from_hub(text.removeprefix(HUB))
    folder = Path(text).expanduser()
    if not folder.is_dir():
        what = "is a file, not a model folder" if folder.exists() else "does not exist"
        raise BadCheckpoint(what, field=text, hint="give a Hugging Face model folder, lab:NAME or hf:ORG/NAME")
    return folder


def absolute(text: str) -> str:
    """The same reference, of a folder or a table by its absolute path, so that it holds in any current folder."""
    if is_lab(text) or is_remote(text) or text.startswith(HUB):
        return text
    head, path = (TABLE, text.removeprefix(TABLE)) if is_table(text) else ("", text)
    return head + os.path.abspath(os.path.expanduser(path))


def reference_of(source: Path | str) -> str:
    """The shortest text that names a folder or hub repository again."""
    folder, zoo = Path(source), lab_path()
    return f"{LAB}{folder.relative_to(zoo)}" if folder.is_relative_to(zoo) else str(source)


def _bundled(text: str) -> Path:
    try:
        return lab_path(text.removeprefix(LAB))
    except UnknownName as error:
        error.field = text
        raise


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(HUB_FILES)))
    except HFValidationError:
        raise BadCheckpoint("is not a repository name", field=f"hf:{name}", hint="write hf:ORG/NAME") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = "check the name and the network, or give a local folder"
        raise BadCheckpoint(f"cannot be fetched: {reason}", field=f"hf:{name}", hint=hint) from error
