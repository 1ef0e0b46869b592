"""What a name of a model or a task stands for: a folder, a run, a bundled model, a repository, an endpoint, a table."""

from __future__ import annotations

from pathlib import Path

from consort.core.errors import BadCheckpoint, BadData, ConsortError
from consort.core.visible import visible
from consort.data import Task, load_task
from consort.data.lm_eval_task import is_lm_eval, lm_eval_task
from consort.lab import path as lab_path
from consort.plan.schemes import HUB, LAB, TABLE, scheme_of
from consort.weights.disk.quantised import is_quantised_folder

JOINED = "+"
"""`BASE+ADAPTER` is an adapter's folder over its base."""


def is_table(text: str) -> bool:
    """Whether `text` names cached answers: one model's (`table:FILE#COLUMN`) or a whole table's (`table:FILE`)."""
    return text.startswith(TABLE)


def has_weights(text: str) -> bool:
    """Whether what `text` names lies here as weights that can be combined.

    Those behind an endpoint, cached answers and quantised folders cannot.
    """
    return scheme_of(text).model is None and not is_quantised(text)


def is_quantised(text: str) -> bool:
    """Whether a folder that `text` names on this machine says that its weights are quantised."""
    if text.startswith(HUB) or scheme_of(text).model is not None:
        return False
    try:
        return is_quantised_folder(scheme_of(text).folder(text))
    except ConsortError:  # whoever opens it says what is wrong with it
        return False


def base_and_adapter(text: str) -> tuple[str | None, str]:
    """The two references of `BASE+ADAPTER`; no base for any other reference, a folder with `+` in its name too."""
    if JOINED not in text or not has_weights(text) or Path(text).expanduser().exists():
        return None, text
    base, _, adapter = text.rpartition(JOINED)
    return (base, adapter) if base and adapter else (None, text)


def open_task(text: str | Path, *, allow_code: bool = False) -> Task:
    """The task that a path names; of `table:FILE` the table's own prompts, graded by the quality that it tells."""
    if is_table(str(text)):
        from consort.models.cached.model import open_table
        from consort.models.cached.reference import split_reference

        file, column = split_reference(str(text))
        if column:
            raise BadData("names one model's answers", field=str(text), hint=f"a task is a whole table: {TABLE}{file}")
        return open_table(file).task()
    if is_lm_eval(str(text)):
        return lm_eval_task(str(text), allow_code=allow_code)
    return load_task(task_path(text), allow_code=allow_code)


def task_path(text: str | Path) -> Path:
    """The file or folder of a task, which may be a bundled one (`lab:tasks/skills`)."""
    if not str(text):
        raise BadData("the task's path is empty", field="task", hint="a file, a folder or lab:tasks/NAME")
    return folder_of(str(text)) if str(text).startswith(LAB) else Path(text)


def folder_of(text: str) -> Path:
    """The folder that a reference names, an adapter's own for `BASE+ADAPTER`, the winner's of a run folder.

    A hub repository is fetched (or found in the local hub cache) first. Raises BadCheckpoint, UnknownName, Unsupported.
    """
    if not text:
        raise BadCheckpoint("a model's name is empty", field="MODEL", hint="a folder, lab:NAME or hf:ORG/NAME")
    adapter = base_and_adapter(text)[1]
    return scheme_of(adapter).folder(adapter)


def check_place(text: str) -> None:
    """Raise ConsortError for a reference to what is not there; what is not on this machine is not asked for."""
    for part in base_and_adapter(text):
        if part:
            scheme_of(part).check(part)


def label_of(text: str) -> str:
    """The short name of a reference, as reports call it."""
    adapter = base_and_adapter(text)[1]
    return visible(scheme_of(adapter).label(adapter))


def absolute(text: str) -> str:
    """The same reference, of a folder or a table by its absolute path, so that it holds in any current folder."""
    base, adapter = base_and_adapter(text)
    whole = scheme_of(adapter).absolute(adapter)
    return f"{absolute(base)}{JOINED}{whole}" if base else whole


def reference_of(source: Path | str) -> str:
    """The shortest text that names a folder or hub repository again."""
    folder, zoo = Path(source), lab_path()
    return f"{LAB}{folder.relative_to(zoo)}" if folder.is_relative_to(zoo) else str(source)
