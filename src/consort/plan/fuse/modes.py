"""What belongs to which mode of a fusion plan, and what a plan by preference must not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from consort.core.errors import BadParameter, BadPlan, ConsortError
from consort.plan.kinds import makers

if TYPE_CHECKING:
    from consort.plan.fuse.plan import FusePlan

BY_ROWS, BY_ANSWERS = ("collect", "align", "fuse", "merge", "control"), ("reward", "sample", "prefer")
"""Keys that mean something in the modes pairwise and together, and in the mode preference."""


def answer_metrics() -> list[str]:
    """The metrics that judge one answer by its prompt's target, and so can be a reward."""
    (metrics,) = makers("metric")
    options = {name: entry.options for name, entry in metrics.entries().items()}
    return [name for name, of in options.items() if of.get("needs") == "generate" and "aggregate" not in of]


def strangers(document: Mapping[str, Any]) -> list[ConsortError]:
    """Faults: keys of one mode in a plan of the other, and a dtype that the student cannot learn in."""
    is_preference = document.get("mode") == "preference"
    mode, wrong = ("preference", BY_ROWS) if is_preference else ("pairwise or together", BY_ANSWERS)
    what, hint = f"means nothing in the mode {mode}", "leave it out, or choose another `mode`"
    found: list[ConsortError] = [BadPlan(what, field=f"plan.{key}", hint=hint) for key in wrong if key in document]
    train = document.get("train")
    train = train if isinstance(train, Mapping) else {}
    if is_preference:
        what = "nothing is fused with the text in the mode preference"
        found += [
            BadPlan(what, field=f"train.{key}", hint="leave it out") for key in ("lam", "variant") if key in train
        ]
    if train.get("dtype", "float32") != "float32":
        hint = "leave it out: small updates are lost in fewer bits; the result is written in the pivot's own dtype"
        found.append(BadParameter(f"a student learns in float32, not {train['dtype']}", field="train.dtype", hint=hint))
    return found


def check_preference(plan: FusePlan) -> None:
    """Raise BadParameter, UnknownName, BadPlan for a reward, a gap or rows that cannot be used."""
    gap = plan.prefer.gap
    if gap is not None and not (len(gap) == 2 and gap[0] <= gap[1] and gap[1] > 0):
        raise BadParameter(f"{list(gap)} is no interval", field="prefer.gap", hint="e.g. [0.01, 0.1]")
    if "" in plan.sample.stop:
        raise BadParameter("an empty string cannot end an answer", field="sample.stop", hint="give non-empty strings")
    if not plan.settings.reward:
        raise BadPlan("is empty", field="plan.reward", hint=f"a reward model, or {', '.join(answer_metrics())}")
    if plan.by_preference and any(teacher.rows for teacher in plan.sources):
        raise BadPlan("rows mean nothing in the mode preference", field="plan.sources", hint="name the models alone")
    _ = plan.reward_model  # raises for what is no model
