"""The border between errors and exit codes: one `error:` line, one `hint:` line, no traceback."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from consort.cli.output import Warnings, one_line
from consort.core.errors import ConsortError, EnvironmentFailure
from consort.core.visible import in_json

INTERRUPTED = 130
NO_ARGUMENTS = "NoArgsIsHelpError"
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENOMEM, errno.EROFS}


def run(arguments: list[str]) -> int:
    """Run the program; returns its exit code. `--debug` adds the traceback."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # threads that spin while they wait made small models twenty times slower on a busy machine (LOG.md)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what has been computed is not lost to a character
            stream.reconfigure(errors="backslashreplace")
    from consort.cli.app import app

    try:
        with _warnings_after():
            result = app(arguments, prog_name="consort", standalone_mode=False)
            sys.stdout.flush()
            if result == INTERRUPTED:  # typer has made an exit of the interruption
                raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; the same command continues", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if type(error).__name__ == NO_ARGUMENTS:
            print(error.ctx.get_help())  # type: ignore[attr-defined]
            return 0
        return _refuse(error, arguments)


@contextmanager
def _warnings_after() -> Iterator[None]:
    """Warnings of the log as `warning:` lines at the end of a run; a refused one prints its two lines and no more."""
    handler, logger = Warnings(logging.WARNING), logging.getLogger("consort")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    for text in handler.told():
        print(f"warning: {text}", file=sys.stderr)


def _refuse(error: Exception, arguments: list[str]) -> int:
    if "--debug" in arguments:
        traceback.print_exception(error)
    known = _as_consort_error(error)
    if known is None:
        print(f"error: a defect in consort: {type(error).__name__}: {one_line(str(error))}", file=sys.stderr)
        print(f"hint: please report it with the traceback saved in {_saved(error)}", file=sys.stderr)
        return 1
    if "--json" in arguments:
        fields = {"type": type(known).__name__, "message": known.message, "field": known.field, "hint": known.hint}
        print(in_json(json.dumps({"error": fields}, ensure_ascii=False)), file=sys.stderr)
    else:
        print(f"error: {one_line(str(known))}", file=sys.stderr)
        print(f"hint: {one_line(known.hint or 'see consort --help')}", file=sys.stderr)
    return known.exit_code


def _as_consort_error(error: Exception) -> ConsortError | None:
    if isinstance(error, ConsortError):
        return error
    if isinstance(error, UsageError):
        context = getattr(error, "ctx", None)
        program = context.command_path if context else "consort"
        return ConsortError(error.format_message(), hint=f"see {program} --help")  # type: ignore[attr-defined]
    if isinstance(error, MemoryError):
        return EnvironmentFailure("out of memory", hint="use fewer or smaller models, or fewer threads")
    if isinstance(error, OSError) and error.errno in MACHINE:
        return EnvironmentFailure(error.strerror or str(error), field=error.filename, hint="check the disk and limits")
    return None


def _saved(error: Exception) -> Path:
    descriptor, name = tempfile.mkstemp(prefix="consort-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("".join(traceback.format_exception(error)))
    return Path(name)
