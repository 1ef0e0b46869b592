"""Runs a program that a model wrote: in a process of its own that can reach neither files, network nor processes.

What holds: time, processor time, memory, size of files (kernel limits and a clock); an empty environment, an isolated
interpreter without installed packages, a folder of its own that is removed; and what `confined` gives up before the
program starts. Where the system cannot confine files and network (Linux before 5.13, other systems), nothing is run.
A program that is written to cheat the grader can still do so: it shares its interpreter with the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consort.core.errors import Unsupported
from consort.core.files import machine_errors

SCRIPT = Path(__file__).with_name("confined.py")
MOST_ANSWER = 1 << 16
"""Bytes read from the process."""
MOST_FILES, MOST_BYTES = 256, 1 << 24
"""What the program may leave in its folder."""
LOOK = 0.05
"""Seconds between two looks at the folder."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run: wall time, address space, the size of one file."""

    timeout_s: float = 10.0
    memory_bytes: int = 1 << 29
    file_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended: to its end, by an exception, out of time, or killed (memory, too many files, a crash)."""

    status: Literal["passed", "failed", "timeout", "killed"]
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"


def run_program(program: str, limits: Limits = Limits()) -> Outcome:
    """Run Python source to its end. Raises Unsupported where the system cannot confine it."""
    token = secrets.token_hex(16)
    job = {
        "program": program,
        "token": token,
        "cpu_s": int(limits.timeout_s) + 1,
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
    }
    with machine_errors("sandbox"), tempfile.TemporaryDirectory(prefix="consort-", ignore_cleanup_errors=True) as own:
        lines, ended = _talk(json.dumps(job).encode(), Path(own), limits.timeout_s)
    return _outcome(lines, ended, token)


def _talk(job: bytes, folder: Path, timeout_s: float) -> tuple[list[bytes], str]:
    """What the process answers, and what ended it: "" for itself, else the limit that was passed."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={},
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin as given:
            given.write(job)
        answer, ended = _listen(process.stdout.fileno(), folder, time.monotonic() + timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return answer.splitlines(), ended


def _listen(pipe: int, folder: Path, deadline: float) -> tuple[bytes, str]:
    answer = b""
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if ready.select(min(left, LOOK)):
                piece = os.read(pipe, MOST_ANSWER)
                if not piece:
                    return answer, ""
                answer += piece
                if len(answer) > MOST_ANSWER:
                    return answer, "wrote too much"
            if _overfull(folder):
                return answer, "left too many or too large files"
    return answer, "timeout"


def _overfull(folder: Path) -> bool:
    files = size = 0
    with contextlib.suppress(OSError):
        for path in _walk(folder):
            files += 1
            size += path.stat(follow_symlinks=False).st_size
            if files > MOST_FILES or size > MOST_BYTES:
                return True
    return False


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))


def _outcome(lines: list[bytes], ended: str, token: str) -> Outcome:
    told: list[dict[str, object]] = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            told += [found] if isinstance(found, dict) else []
    if told and not {"files", "network"} <= set(told[0].get("confined") or []):  # type: ignore[call-overload]
        hint = "grade generated code on Linux 5.13 or later (x86-64 or ARM), for instance in a container"
        raise Unsupported("this system cannot keep a program from files and network", field="sandbox", hint=hint)
    if ended:
        return Outcome("timeout" if ended == "timeout" else "killed", ended)
    if any(answer.get("passed") == token for answer in told[1:]):
        return Outcome("passed")
    failed = next((str(answer["failed"]) for answer in told[1:] if "failed" in answer), None)
    return Outcome("failed", failed) if failed else Outcome("killed", "ended without an answer")
