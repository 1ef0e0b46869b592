"""What a run is doing: running, finished or killed; done so far, best so far, time left; and its document."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from consort.core.errors import BadData
from consort.core.journal import JOURNAL_FILE
from consort.core.lock import is_locked
from consort.core.progress import read_progress, span
from consort.core.results import RESULTS_FILE, read_results
from consort.runs.merged import is_merged, merged_document
from consort.runs.unfinished import so_far

State = Literal["running", "finished", "killed"]


@dataclass(frozen=True, slots=True)
class Status:
    """A run's state. `done` of `total` are of its present `phase`; `best` is {name, score}, on what it searches on.

    `elapsed_s` and `left_s` are seconds; what cannot be told is None.
    """

    folder: str
    verb: str
    state: State
    phase: str
    done: float | None
    total: float | None
    best: dict[str, Any] | None
    elapsed_s: float | None
    left_s: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """The same for people."""
        head = f"{self.folder}: {self.verb}, {self.state}"
        found = [head if self.state != "killed" else f"{head}; the same command goes on where it was"]
        if self.done is not None and self.state != "finished":
            of = "" if self.total is None else f" of {self.total:g}"
            found.append(f"{self.phase or 'done'}: {self.done:g}{of}")
        if self.best is not None:
            found.append(
                f"best{'' if self.state == 'finished' else ' so far'}: {self.best['name']}, {self.best['score']:.4f}"
            )
        if self.state == "running" and self.left_s is not None:
            found.append(f"about {span(self.left_s)} left")
        return found


def state_of(folder: Path) -> State:
    """Whether a process works in the folder, or has finished, or was killed. Raises BadData for no run folder."""
    journal = folder / JOURNAL_FILE
    if journal.is_file() and is_locked(journal):
        return "running"
    if (folder / RESULTS_FILE).is_file():
        return "finished"
    if not journal.is_file():
        what = (
            "is no folder" if not folder.is_dir() else "is no run folder: it has neither results.json nor journal.jsonl"
        )
        raise BadData(what, field=str(folder), hint="give the folder of a run, such as auto's --out")
    return "killed"


def status_of(folder: str | Path) -> Status:
    """What the run in a folder is doing. Raises BadData for what is no run folder."""
    place = Path(folder)
    state = state_of(place)
    if state == "finished":
        raw = read_results(place)
        return Status(str(folder), str(raw.get("verb", "")), state, "", None, None, _winner(raw), None, None)
    raw, told = so_far(place), read_progress(place)
    done = _number(told.get("done"))
    return Status(
        str(folder),
        str(told.get("verb") or raw["verb"]),
        state,
        str(told.get("phase", "")),
        float(len(raw.get("search", ()))) if done is None else done,
        _number(told.get("total")),
        best_of(raw) or _best(told.get("best")),
        _number(told.get("elapsed_s")),
        _number(told.get("left_s")) if state == "running" else None,
    )


def document_of(folder: str | Path) -> dict[str, Any]:
    """The results of a run folder as they stand: results.json, or what is known so far with how far the run is.

    Of a merged folder, what the record of the merge tells.
    """
    place = Path(folder)
    if is_merged(place) and not (place / RESULTS_FILE).is_file() and not (place / JOURNAL_FILE).is_file():
        return merged_document(place)
    state = state_of(place)
    if (place / RESULTS_FILE).is_file():
        return read_results(place)
    told = status_of(place)
    progress = {"state": state, "phase": told.phase, "done": told.done or 0, "total": told.total, "left_s": told.left_s}
    return {**so_far(place), "progress": progress}


def best_of(raw: dict[str, Any]) -> dict[str, Any] | None:
    """The best of what an unfinished run has scored on the examples that it searches on."""
    scores = dict(raw.get("singles_fit", {})) | {c["name"]: c["fit"] for c in raw["candidates"] if c["fit"] is not None}
    if not scores:
        return None
    name = max(scores, key=lambda one: scores[one])
    return {"name": name, "score": scores[name]}


def _winner(raw: dict[str, Any]) -> dict[str, Any] | None:
    """The winner and its score on test, or else on held-out data."""
    made = raw.get("winner")
    if not isinstance(made, dict):
        return None
    kept: dict[str, Any] = next((c for c in raw.get("candidates", ()) if c.get("status") == "kept"), {})
    score = next((r["score"] for r in raw.get("test", ()) if r.get("model") == made.get("name")), None)
    if score is None and isinstance(raw.get("decision"), dict):
        d = raw["decision"]
        score = d["candidate_score"] if d["kept"] else d["fallback_score"]
    return None if score is None else {"name": str(kept.get("name") or made.get("name")), "score": score}


def _best(told: Any) -> dict[str, Any] | None:
    if isinstance(told, dict) and isinstance(told.get("score"), int | float):
        return {"name": str(told.get("name", "")), "score": float(told["score"])}
    return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
