"""The one table of reference prefixes: who opens what a model's name stands for, who checks and who describes it."""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from consort.core.errors import BadCheckpoint, BadData, UnknownName, Unsupported
from consort.lab import path as lab_path
from consort.weights.adapters.files import ADAPTER_CONFIG, is_adapter
from consort.weights.disk.folder_check import check_folder
from consort.weights.disk.paths import read_json
from consort.weights.disk.quantised import is_quantised_folder

LAB = "lab:"
REMOTE = "openai:"
TABLE = "table:"
HUB = "hf:"
HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md")
KNOWN = "give a Hugging Face model folder, lab:NAME or hf:ORG/NAME"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How references of one prefix are read.

    `folder` is where the weights lie (Unsupported where there are none); `check` raises for what is not there, without
    asking anything outside this machine; `label` is what reports call it; `absolute` holds in any current folder.
    `model` opens what has no weights, None where there are some; what it has opened it may keep in the mapping it gets.
    """

    prefix: str
    folder: Callable[[str], Path]
    check: Callable[[str], None]
    label: Callable[[str], str]
    absolute: Callable[[str], str]
    model: Callable[[str, MutableMapping[str, Any]], Any] | None = None


def _last_part(text: str) -> str:
    return PurePath(text.rpartition(":")[2]).name


def _same(text: str) -> str:
    return text


def _local(text: str) -> Path:
    folder = Path(text).expanduser()
    if not folder.is_dir():
        what = "is a file, not a model folder" if folder.exists() else "does not exist"
        raise BadCheckpoint(what, field=text, hint=KNOWN)
    return model_of_run(folder) or folder


def _check_local(text: str) -> None:
    """What the files of a folder show of being no model, before anything that could read one is imported."""
    folder = _local(text)
    if is_adapter(folder):
        read_json(folder / ADAPTER_CONFIG)
    elif not is_quantised_folder(folder):
        check_folder(folder, allow_remote_code=True)  # whoever opens it knows whether its code may run


def model_of_run(folder: Path) -> Path | None:
    """The model that a run folder ended with, None if `folder` is none or ended with a plan."""
    inner = folder / "model"
    is_run = (folder / "plan.yml").is_file() and not (folder / "config.json").exists()
    return inner if is_run and (inner / "config.json").is_file() else None


def _bundled(text: str) -> Path:
    try:
        return lab_path(text.removeprefix(LAB))
    except UnknownName as error:
        error.field = text
        raise


def _from_hub(text: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = text.removeprefix(HUB).partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(HUB_FILES)))
    except HFValidationError:
        raise BadCheckpoint("is not a repository name", field=text, hint="write hf:ORG/NAME") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = "check the name and the network, or give a local folder"
        raise BadCheckpoint(f"cannot be fetched: {reason}", field=text, hint=hint) from error


def _no_folder(what: str) -> Callable[[str], Path]:
    def refuse(text: str) -> Path:
        raise Unsupported(f"{what} no weights", field=text, hint="a folder, lab:NAME or hf:ORG/NAME")

    return refuse


def _endpoint(text: str, _: MutableMapping[str, Any]) -> Any:
    from consort.models.remote.opening import remote_model

    return remote_model(text)


def _column(text: str, opened: MutableMapping[str, Any]) -> Any:
    """A column of a table, which is read once for all its columns."""
    from consort.models.cached.model import open_table, table_model
    from consort.models.cached.reference import split_reference

    file, _ = split_reference(text)
    if TABLE + file not in opened:
        opened[TABLE + file] = open_table(file)
    return table_model(text, opened[TABLE + file])


def _check_table(text: str) -> None:
    from consort.models.cached.reference import split_file

    file, _ = split_file(text.removeprefix(TABLE).partition("#")[0])
    if file and not Path(file).is_file():
        raise BadData("no such file", field=file, hint="give a JSONL, JSON or CSV file of cached answers")


def _check_endpoint(text: str) -> None:
    from consort.models.remote.reference import split_reference

    split_reference(text)


def _unchecked(text: str) -> None:
    """What is not on this machine is not asked for before it is opened."""


def _absolute_path(text: str) -> str:
    return os.path.abspath(os.path.expanduser(text))


def _there(folder: Callable[[str], Path]) -> Callable[[str], None]:
    def check(text: str) -> None:
        folder(text)

    return check


LOCAL = Scheme("", _local, _check_local, _last_part, _absolute_path)
SCHEMES = (
    Scheme(LAB, _bundled, _there(_bundled), _last_part, _same),
    Scheme(HUB, _from_hub, _unchecked, _last_part, _same),
    Scheme(
        REMOTE,
        _no_folder("a remote model has"),
        _check_endpoint,
        lambda text: text.removeprefix(REMOTE).partition("@")[0],
        _same,
        _endpoint,
    ),
    Scheme(
        TABLE,
        _no_folder("cached answers have"),
        _check_table,
        lambda text: text.rpartition("#")[2],
        lambda text: TABLE + _absolute_path(text.removeprefix(TABLE)),
        _column,
    ),
)


def scheme_of(text: str) -> Scheme:
    """The scheme of a reference: by its prefix, else that of folders."""
    return next((scheme for scheme in SCHEMES if text.startswith(scheme.prefix)), LOCAL)
