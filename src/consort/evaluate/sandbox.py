"""Runs a program that a model wrote: in a process of its own that can reach neither files, network nor processes.

What holds: time, processor time, memory, size of files (kernel limits and a clock); an empty environment, an isolated
interpreter without installed packages, a folder of its own that is removed; a list of the system calls that are allowed
(`system_calls`); and what `confined` gives up before the program starts. Where the system cannot confine files and
network (Linux before 5.13, other systems), nothing is run. A program that is written to cheat the grader can still do
so: it shares its interpreter with the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from consort.core.errors import Unsupported
from consort.core.files import machine_errors
from consort.evaluate.own_folder import MOST_BYTES, MOST_FILES, is_full, remove
from consort.evaluate.system_calls import filter_of

SCRIPT = Path(__file__).with_name("confined.py")
MOST_ANSWER = 1 << 16
"""Bytes read from the process."""
OVERFULL = "left too many or too large files"
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
        """Whether the program ran to its end without an error."""
        return self.status == "passed"


def run_program(program: str, limits: Limits = Limits()) -> Outcome:
    """Run Python source to its end. Raises Unsupported where the system cannot confine it."""
    if sys.platform != "linux":
        raise _unconfined()
    token = secrets.token_hex(16)
    job = {
        "program": program,
        "token": token,
        "cpu_s": int(limits.timeout_s) + 1,
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        "disk_bytes": MOST_BYTES,
        "disk_files": MOST_FILES,
    }
    with machine_errors("sandbox"):
        own = Path(tempfile.mkdtemp(prefix="consort-"))
        try:
            lines, ended = _talk(job, own, limits)
        finally:
            remove(own)
    return _outcome(lines, ended, token)


def _unconfined() -> Unsupported:
    hint = "grade generated code on Linux 5.13 or later (x86-64 or ARM), for instance in a container"
    return Unsupported("this system cannot keep a program from files and network", field="sandbox", hint=hint)


def _talk(job: dict[str, object], folder: Path, limits: Limits) -> tuple[list[bytes], str]:
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
    machine = platform.machine()
    whole = job | {"filter": filter_of(machine, process.pid).hex()}
    whole |= {"older": filter_of(machine, process.pid, older=True).hex()}
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin as given:
            given.write(json.dumps(whole).encode())
        answer, ended = _listen(process, folder, limits)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return answer.splitlines(), ended


def _listen(process: subprocess.Popen[bytes], folder: Path, limits: Limits) -> tuple[bytes, str]:
    answer, deadline = b"", time.monotonic() + limits.timeout_s
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    with selectors.DefaultSelector() as ready:
        ready.register(pipe, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if ready.select(min(left, LOOK)):
                piece = os.read(pipe, MOST_ANSWER)
                if not piece:
                    return answer, OVERFULL if is_full(folder) else ""
                answer += piece
                if len(answer) > MOST_ANSWER:
                    return answer, "wrote too much"
            if is_full(folder, process.pid, file_bytes=limits.file_bytes):
                return answer, OVERFULL
    return answer, "timeout"


def _outcome(lines: list[bytes], ended: str, token: str) -> Outcome:
    told: list[dict[str, object]] = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            told += [found] if isinstance(found, dict) else []
    if told and not {"files", "network"} <= set(told[0].get("confined") or []):  # type: ignore[call-overload]
        raise _unconfined()
    if ended:
        return Outcome("timeout" if ended == "timeout" else "killed", ended)
    if any(answer.get("passed") == token for answer in told[1:]):
        return Outcome("passed")
    failed = next((str(answer["failed"]) for answer in told[1:] if "failed" in answer), None)
    return Outcome("failed", failed) if failed else Outcome("killed", "ended without an answer")
