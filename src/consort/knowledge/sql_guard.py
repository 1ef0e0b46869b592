"""What a statement may be before a database sees it: one SELECT that reads, and calls only functions that are listed.

The first of four layers. The others hold where a parser errs: rows and letters of a result are bounded, the connection
reads only and asks an authorizer about every step, and a clock ends what takes too long (`tables`, `sql_reader`).
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

from consort.core.errors import BadData, MissingExtra

MOST_LETTERS = 65536
"""Letters of a statement."""
_FUNCTIONS = """
abs acos acosh asin asinh atan atan2 atanh avg bm25 cast ceil ceiling changes char coalesce concat concat_ws cos cosh
count cume_dist current_date current_time current_timestamp date datetime decode degrees dense_rank exp first_value
floor format glob group_concat hex highlight if ifnull iif instr json json_array json_array_length json_each
json_extract json_group_array json_group_object json_object json_quote json_tree json_type json_valid julianday lag
last_value lead length like likelihood likely ln log log10 log2 lower ltrim match max median min mod nth_value ntile
nullif octet_length percent_rank pi pow power printf quote radians random rank regexp replace round row_number rtrim
sign sin sinh snippet sqrt strftime string_agg substr substring sum tan tanh time timediff total trim trunc typeof
unhex unicode unixepoch unlikely upper
"""
FUNCTIONS = frozenset(_FUNCTIONS.split()) | {"->", "->>"}
"""Functions of SQLite that read nothing but their arguments; all others are refused."""
_REFUSED = """
alter altercolumn altersession analyze attach cache clone command commit copy create delete detach describe drop export
grant heredoc insert into kill loaddata lock merge pragma refresh revoke rollback set setitem show summarize transaction
truncatetable uncache update use
"""
REFUSED = frozenset(_REFUSED.split())
"""Kinds of nodes, as sqlglot names them, that write, change settings or reach beyond the database."""
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|--[^\n]*|/\*.*?\*/", re.DOTALL)
DUCK_FUNCTIONS = re.compile(
    r"read_|parquet_|sniff_|glob$|query$|query_table$|duckdb_|pragma_|iceberg|sqlite_|postgres_|mysql_|st_read|"
    r"getenv|current_setting|set_|nextval|currval|from_substrait|repeat_row|checkpoint|force_checkpoint|which_secret|"
    r"load_extension|readfile|writefile|edit|fts3_tokenizer|shell|system|getvariable|json_execute|"
    r"arrow_|pandas_|python_|seq_scan|index_scan|write_log|truncate_|enable_|disable_|(pg_)?sleep"
)
"""Functions of DuckDB that reach beyond the database, or read or change its settings."""


def checked(sql: str, dialect: str = "sqlite") -> str:
    """The statement without its last semicolon. Raises BadData for whatever is not one SELECT that only reads.

    Without sqlglot only length and text of a statement for SQLite are checked here, and its authorizer decides; DuckDB
    has none, so that MissingExtra is raised.
    """
    if not isinstance(sql, str) or not sql.strip():
        raise refusal("there is no statement")
    if len(sql) > MOST_LETTERS:
        raise refusal(f"has more than {MOST_LETTERS} letters")
    if "\0" in sql or any(0xD800 <= ord(letter) < 0xE000 for letter in sql):
        raise refusal("has letters that no text has")
    bare = _without_end(sql)
    if dialect != "sqlite" or find_spec("sqlglot") is not None:
        _check_tree(bare, dialect)
    return bare


def refusal(why: str) -> BadData:
    """The error for a statement that is not run."""
    return BadData(f"refused: {why}", field="sql", hint="one SELECT statement that only reads")


def _check_tree(sql: str, dialect: str) -> None:
    try:
        from sqlglot import expressions as kinds
        from sqlglot.errors import SqlglotError
    except ImportError:
        hint = "pip install 'consort[sql]'"
        raise MissingExtra("a statement is not run unread: that needs sqlglot", field="sql", hint=hint) from None

    try:
        statements = [one for one in _parsed(sql, dialect) if one is not None]
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, IndexError, KeyError) as fault:
        raise refusal(f"cannot be read as SQL ({type(fault).__name__})") from None
    if len(statements) != 1:
        raise refusal("there is no statement" if not statements else f"there are {len(statements)} statements")
    root: Any = statements[0]
    while isinstance(root, kinds.Subquery):
        root = root.this
    if not isinstance(root, kinds.Select | kinds.SetOperation):
        raise refusal(f"is a {type(root).__name__.upper()}, not a SELECT")
    for node in root.walk():
        _check_node(node, dialect)


def _parsed(sql: str, dialect: str) -> list[Any]:
    """The statements of a text.

    sqlglot takes a % behind LIMIT for PERCENT; a + may stand for it, for only which parts there are is looked at.
    """
    import logging

    import sqlglot
    from sqlglot.errors import SqlglotError

    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        return list(sqlglot.parse(sql, read=dialect))
    except SqlglotError:
        plain = "".join("+" if mark == "%" else own for mark, own in zip(_masked(sql), sql, strict=True))
        if plain == sql:
            raise
        return list(sqlglot.parse(plain, read=dialect))


def _check_node(node: Any, dialect: str) -> None:
    from sqlglot import expressions as kinds

    kind = type(node).__name__.lower()
    if kind in REFUSED or isinstance(node, kinds.DDL | kinds.DML) and not isinstance(node, kinds.Query):
        raise refusal(f"has a part that does not only read ({kind.upper()})")
    if isinstance(node, kinds.CTE) and not isinstance(node.this, kinds.Query):
        raise refusal("has a WITH part that is no SELECT")
    if isinstance(node, kinds.Anonymous):
        _check_function(str(node.this).lower(), dialect)
    elif isinstance(node, kinds.Func) and dialect == "duckdb":
        _check_function(str(node.sql_name()).lower(), dialect)


def _check_function(name: str, dialect: str) -> None:
    known = not DUCK_FUNCTIONS.match(name) if dialect == "duckdb" else name in FUNCTIONS
    if not known:
        raise refusal(f"calls {name[:40]}, which is not among the functions that may be called")


def _masked(sql: str) -> str:
    """The statement, as long as it was, with blanks for quoted names and texts."""
    return _QUOTED.sub(lambda found: found[0] if found[0][:2] in ("--", "/*") else "x" * len(found[0]), sql)


def _without_end(sql: str) -> str:
    """The statement without semicolons and comments behind it."""
    masked = _masked(sql)
    while True:
        end = re.search(r"(?:[;\s]|/\*(?:(?!\*/).)*\*/|--[^\n]*)\Z", masked, re.DOTALL)
        if not end or not end[0]:
            return sql[: len(masked)].lstrip()
        masked = masked[: end.start()]


def limited(sql: str, rows: int) -> str:
    """The statement with a LIMIT of one more than `rows`, where it has none at its end, so that a cut is known."""
    depth, outside = 0, []
    for letter in re.sub(r"--[^\n]*|/\*.*?\*/", " ", _masked(sql), flags=re.DOTALL):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            outside.append(letter)
    has_limit = re.search(r"\blimit\b", "".join(outside), re.IGNORECASE)
    return sql if has_limit else f"{sql}\nLIMIT {rows + 1}"
