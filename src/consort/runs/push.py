"""A result on a hub: the folder of a model, or the winner of a run, with a card that tells its scores."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from consort.core.errors import BadCheckpoint, BadParameter, EnvironmentFailure
from consort.core.results import RESULTS_FILE, read_results
from consort.weights.disk.card import CARD, front_matter

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
MESSAGE = "Made with consort"
LEFT_OUT = ("*.partial-*", "journal.jsonl", "progress.json", "*.lock")


def push_to_hub(folder: str | Path, repository: str, *, private: bool = True, token: str | None = None) -> str:
    """Upload a model's folder, or the model that a run folder ended with, to `repository` (ORG/NAME); its address.

    A run's scores on the test split go into the card as `model-index`, and its report beside the weights. The token is
    huggingface_hub's own (`hf auth login`, HF_TOKEN) unless one is given; the endpoint is HF_ENDPOINT. Raises
    BadParameter for a name that is none, BadCheckpoint for a folder without a model, EnvironmentFailure where the hub
    refuses or is not in reach; nothing of the folder is changed.
    """
    check_repository(repository)
    folder = Path(folder)
    model = folder / "model" if (folder / "model" / "config.json").is_file() else folder
    if not any((model / name).is_file() for name in ("config.json", "adapter_config.json")):
        hint = "a plan that decides at run time has no weights: share its plan.yml, or serve it"
        raise BadCheckpoint("holds no model to upload", field=str(folder), hint=hint)
    from huggingface_hub import HfApi

    card = told_card(model, folder, repository)
    api = HfApi(token=token)
    with _hub_errors(repository), tempfile.TemporaryDirectory(prefix="consort-push-") as spare:
        (Path(spare) / CARD).write_text(card, "utf-8")
        for name in ("report.html", RESULTS_FILE):
            if model is not folder and (folder / name).is_file():
                shutil.copy(folder / name, spare)
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=model, ignore_patterns=[*LEFT_OUT, CARD], commit_message=MESSAGE
        )
        api.upload_folder(repo_id=repository, folder_path=spare, commit_message=MESSAGE)
    return str(address)


def check_repository(repository: str) -> None:
    """Raise BadParameter for what is no name of a repository, or while the hub may not be asked."""
    if not NAME.fullmatch(repository) or ".." in repository or "--" in repository:
        raise BadParameter(f"{repository!r} is no repository", field="--push", hint="write ORG/NAME")
    from huggingface_hub import constants

    if constants.is_offline_mode():
        hint = "unset HF_HUB_OFFLINE"
        raise BadParameter("the hub is switched off (HF_HUB_OFFLINE)", field="--push", hint=hint)


def told_card(model: Path, run: Path, repository: str) -> str:
    """The model's card with what its run found on test, as hubs read it."""
    text = (model / CARD).read_text("utf-8") if (model / CARD).is_file() else f"# {repository.partition('/')[2]}\n"
    front = front_matter(model)
    body = re.sub(r"\A---\s*\n.*?\n---\s*\n", "", text, count=1, flags=re.DOTALL)
    index = model_index(run, repository) if model != run else []
    if index:
        front["model-index"] = index
        body = f"{body.rstrip()}\n\n## Scores\n\n{_table(index)}\n"
    if not front:
        return body
    head = yaml.safe_dump(front, sort_keys=True, allow_unicode=True, width=1 << 20).strip()
    return f"---\n{head}\n---\n{body}"


def model_index(run: Path, repository: str) -> list[dict[str, Any]]:
    """What a run's results say of its winner on test, in the form of `model-index`; empty where they say nothing."""
    if not (run / RESULTS_FILE).is_file():
        return []
    found = read_results(run)
    task, tested = found.get("task"), found.get("test") or []
    winner = (found.get("winner") or {}).get("name")
    scored = next((r for r in tested if r.get("model") == winner), tested[-1] if tested else None)
    if not isinstance(task, Mapping) or not isinstance(scored, Mapping) or not isfinite(float(scored["score"])):
        return []
    metric = {"type": str(task["metric"]), "value": round(float(scored["score"]), 6), "name": "test score"}
    dataset = {"type": str(task["name"]), "name": str(task["name"]), "split": "test"}
    result = {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": [metric]}
    return [{"name": repository.partition("/")[2], "results": [result]}]


def _table(index: list[dict[str, Any]]) -> str:
    [one] = index
    lines = ["| task | metric | test score |", "|---|---|---|"]
    for result in one["results"]:
        [metric] = result["metrics"]
        lines.append(f"| {result['dataset']['name']} | {metric['type']} | {metric['value']:.3f} |".replace("<", "\\<"))
    return "\n".join(lines)


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """What the hub and the way to it refuse, as one error that names the repository."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        says = " ".join(str(error).split())[:300] or type(error).__name__
        hint = "is the token right (hf auth login, or HF_TOKEN), may it write there, and is the hub in reach?"
        raise EnvironmentFailure(f"cannot be uploaded: {says}", field=repository, hint=hint) from error
