"""A model writes a query, a guard lets it through or not, the database runs it, and an error goes back to the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from consort.cooperate.retrieve.asking import Costs
from consort.cooperate.retrieve.quoting import inert
from consort.core.errors import ConsortError
from consort.core.types import Completion, Prompt, Sampling
from consort.knowledge.sql_rows import Rows
from consort.knowledge.sql_schema import rendered
from consort.knowledge.sql_text import statement_in
from consort.knowledge.tables import Tables
from consort.models.base import LanguageModel
from consort.models.cost import cost_of

ASK = """{schema}

Write one SELECT statement of {dialect} that answers the question. Write nothing else.
Question: {question}
SQL:"""
REPAIR = """{schema}

Write one SELECT statement of {dialect} that answers the question. Write nothing else.
Question: {question}
SQL: {sql}
Error: {error}
The statement without the error:
SQL:"""


@dataclass(slots=True)
class Attempt:
    """A question on its way to rows; `errors` has what was wrong with each statement that did not run."""

    question: str
    sql: str = ""
    rows: Rows | None = None
    errors: list[str] = field(default_factory=list)
    costs: Costs = field(default_factory=list)
    said: Completion = Completion("")


def written(
    model: LanguageModel,
    tables: Tables,
    questions: Sequence[str],
    *,
    sampling: Sampling,
    repairs: int = 2,
    samples: int = 3,
    template: str = "",
    controls: Sequence[str] = (),
) -> list[Attempt]:
    """For each question the statement that ran, and its rows; the model has `repairs` more tries after an error."""
    schema = inert(rendered(tables.tables, samples), controls)  # names and values are data, not the template's
    attempts = [Attempt(question) for question in questions]
    for _ in range(repairs + 1):
        open_ = [i for i, one in enumerate(attempts) if one.rows is None]
        if not open_:
            break
        asked: list[Prompt] = [_prompt(attempts[i], schema, tables.dialect, template, controls) for i in open_]
        seeded = sampling.of_rows(open_)
        for i, answer in zip(open_, model.generate(asked, seeded), strict=True):
            one = attempts[i]
            one.costs.append((model, cost_of(model, answer)))
            one.said = answer
            _run(one, tables, answer.text)
    return attempts


def _prompt(one: Attempt, schema: str, dialect: str, template: str, controls: Sequence[str]) -> str:
    by = {
        "{schema}": schema, "{dialect}": "SQLite" if dialect == "sqlite" else "DuckDB", "{question}": one.question,
        "{sql}": one.sql, "{error}": inert(one.errors[-1], controls) if one.errors else "",
    }  # fmt: skip
    text = REPAIR if one.errors else template or ASK
    parts, rest = [], text
    while rest:  # place by place, so that what is filled in is never read as a place
        at = min((rest.find(place) for place in by if place in rest), default=-1)
        if at < 0:
            break
        place = next(p for p in by if rest.startswith(p, at))
        parts += [rest[:at], by[place]]
        rest = rest[at + len(place) :]
    return "".join([*parts, rest])


def _run(one: Attempt, tables: Tables, text: str) -> None:
    one.sql = statement_in(text) or statement_in(f"SELECT {text}")
    try:
        one.rows = tables.run(one.sql)
    except ConsortError as fault:
        one.errors.append(fault.message)
