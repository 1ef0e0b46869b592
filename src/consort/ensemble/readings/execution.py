"""What a statement of SQL returns: statements that return the same rows agree (execution-based voting, 2204.11454)."""

from __future__ import annotations

from typing import Annotated

from consort.core.errors import ConsortError
from consort.core.params import Range
from consort.ensemble.readings import reading
from consort.knowledge.sql_rows import canonical
from consort.knowledge.sql_text import statement_in
from consort.knowledge.tables import Tables


@reading()
class Execution:
    """The rows that the first statement of an answer returns from `database`, read only; None where it does not run.

    Rows may stand in any order unless `ordered`; names of columns do not count. `vote: {models, answer: {execution:
    {database: FILE}}}` is a vote over several models' queries.
    """

    def __init__(
        self, database: str, *, ordered: bool = False, timeout_s: Annotated[float, Range(0.01, 3600)] = 5.0
    ) -> None:
        self.database, self.ordered, self.timeout_s = str(database), ordered, timeout_s
        self.tables = Tables(self.database, timeout_s=timeout_s)

    def __call__(self, text: str) -> str | None:
        sql = statement_in(text)
        try:
            return canonical(self.tables.run(sql), self.ordered) if sql else None
        except ConsortError:  # a statement that does not run has no vote, as an answer that cannot be read
            return None
