"""Does what a page tells its reader to do, in order and in one empty folder, and compares what is printed.

`python -m docs.making.walk PAGE...` prints what each command and snippet prints now. A figure may differ by a fiftieth
or by a tenth of itself, since other processors round differently; `…` stands for anything, alone on a line for lines.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from docs.making.blocks import Block, blocks, commands

ROOT = Path(__file__).parents[2]
NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?"
PORT = re.compile(r"\b80\d\d\b")
FOR_A_SHELL = re.compile(r"[|<>;&$]")
WAIT_S = 120


class Differs(AssertionError):
    """A page prints something else than what happens."""


class Walk:
    """A reader at work in the current folder. `in_process`: consort's commands run in this process: quicker."""

    def __init__(self, *, in_process: bool) -> None:
        self.in_process = in_process
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.printed = ""
        self.ports: dict[str, str] = {}
        self.left: list[subprocess.Popen[str]] = []
        self.programs = tempfile.TemporaryDirectory(prefix="consort-pages-")

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self.programs.cleanup()

    def do(self, block: Block) -> Iterator[tuple[str, str, str]]:
        """What was done, what the page says that it prints, what it printed."""
        text = PORT.sub(self._port, block.text)
        if block.kind == "file":
            Path(block.name).parent.mkdir(parents=True, exist_ok=True)
            Path(block.name).write_text(text, encoding="utf-8")
        elif block.kind == "python":
            self.printed = self._python(text)
            yield "python", "", self.printed
        elif block.kind == "printed":
            yield "what Python printed", text, self.printed
        elif block.kind == "console":
            for command, printed in commands(text):
                if command.startswith("make "):  # of a checkout; CI runs them
                    continue
                yield command, printed, self._command(command, refused="error:" in printed)

    def _port(self, found: re.Match[str]) -> str:
        if found[0] not in self.ports:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.ports[found[0]] = str(free.getsockname()[1])
        return self.ports[found[0]]

    def _python(self, text: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, "page", "exec"), self.names)
        return out.getvalue()

    def _command(self, command: str, *, refused: bool) -> str:
        if command.endswith("&"):
            return self._background(command.rstrip("& "))
        if command == "kill %1":
            return self._stop()
        words = shlex.split(command, comments=True)
        if self.in_process and words[0] == "consort" and not FOR_A_SHELL.search(command):
            code, printed = _in_process(words[1:])
        else:
            done = subprocess.run(
                ["bash", "-c", command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=self._environment(),
            )
            code, printed = done.returncode, done.stdout
        if code != (2 if refused else 0):
            raise Differs(f"$ {command}\nexit code {code}:\n{printed}")
        return printed

    def _background(self, command: str) -> str:
        """Start a server; what it prints once it serves."""
        words = [*_program(), *shlex.split(command)[1:]]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=self._environment())
        self.left.append(process)
        assert process.stderr is not None
        return process.stderr.readline()

    def _environment(self) -> dict[str, str]:
        """A shell's, in which `consort` and `python` are those of this interpreter."""
        for name, words in (("consort", _program()), ("python", [sys.executable])):
            file = Path(self.programs.name) / name
            file.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            file.chmod(0o755)
        return {**os.environ, "PATH": f"{self.programs.name}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}

    def _stop(self) -> str:
        while self.left:
            process = self.left.pop()
            process.terminate()
            process.communicate(timeout=WAIT_S)
        return ""


def _program() -> list[str]:
    return [sys.executable, "-m", "consort"]


def _in_process(arguments: list[str]) -> tuple[int, str]:
    from consort.cli.border import run

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(arguments)
    return code, out.getvalue()


def compare(expected: str, printed: str) -> None:
    """Raises Differs where a page says something else than what was printed; figures may differ a little."""
    if not expected.strip():
        return
    expected = _without_seconds(expected)
    pattern = "".join(_line(line) for line in expected.strip("\n").splitlines())
    found = re.fullmatch(pattern, "\n".join(line.rstrip() for line in printed.strip("\n").splitlines()) + "\n")
    said = re.findall(NUMBER, re.sub("…", " ", expected))
    if not found or not all(_near(*pair) for pair in zip(said, found.groups(), strict=True)):
        raise Differs(f"the page says\n{expected}\nand it was\n{printed}")


def _without_seconds(expected: str) -> str:
    """Its tables that end with seconds, which hang on the machine, with … in their place."""
    lines, timed = [], False
    for line in expected.splitlines():
        timed = line.rstrip().endswith("s/example") or (timed and bool(re.search(rf"{NUMBER}$|─$", line.rstrip())))
        lines.append(re.sub(rf"{NUMBER}$", "…", line.rstrip()) if timed else line)
    return "\n".join(lines)


def _line(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*?"
    parts = re.split(rf"({NUMBER}|…|─+|\s+)", line.strip())
    return r"\s*" + "".join(_part(part) for part in parts) + "\n"


def _part(part: str) -> str:
    if re.fullmatch(NUMBER, part):
        return f"({NUMBER})"
    return {"…": ".*?", "─": "─+", " ": r"\s+"}.get(part[:1], re.escape(part))


def _near(said: str, found: str) -> bool:
    one, other = (float(number.replace(",", "")) for number in (said, found))
    return abs(one - other) <= max(0.02, 0.1 * abs(one)) if "." in said or "," in said else one == other


def walk(page: Path, *, in_process: bool) -> Iterator[tuple[int, str, str, str]]:
    """Walk through a page in the current folder: line, what was done, what the page says, what it printed."""
    with Walk(in_process=in_process) as reader:
        for block in blocks(page.read_text("utf-8")):
            for done in reader.do(block):
                yield block.line, *done


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "100")
    for name in sys.argv[1:]:
        page = Path(name).resolve()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for line, command, expected, printed in walk(page, in_process=False):
                try:
                    compare(expected, printed)
                    mark = ""
                except Differs:
                    mark = "   <-- the page says otherwise"
                print(f"--- {page.name}:{line} $ {command}{mark}\n{printed}")
