"""The `code` metric: programs that pass their tests, and programs that must not get out."""

from __future__ import annotations

import gzip
import json
import os
import socket
import sys

import pytest

from consort.core.errors import BadData, Unsupported
from consort.core.types import Example
from consort.data import load_task
from consort.evaluate import evaluate
from consort.evaluate.metrics.code import code, program_of
from consort.evaluate.sandbox import Limits, run_program
from consort.models.fake import FakeModel


def can_confine() -> bool:
    try:
        return run_program("pass").passed
    except Unsupported:
        return False


confined = pytest.mark.skipif(not can_confine(), reason="this system cannot confine a program (Linux 5.13 or later)")
QUICK = Limits(timeout_s=1.0)
ADD = Example(prompt="def add(a, b):\n", target=("assert add(1, 2) == 3", "assert add(-1, 1) == 0"))


@confined
def test_a_program_passes_its_tests_or_not():
    assert code("    return a + b\n", ADD) == 1.0
    assert code("    return a - b\n", ADD) == 0.0
    assert code("    return a +", ADD) == 0.0
    assert code("", ADD) == 0.0
    assert code("Sure:\n```python\ndef add(a, b):\n    return b + a\n```\nDone.", ADD) == 1.0


def test_the_program_that_an_answer_stands_for():
    assert program_of("def f(x):\n", "    return x\n") == "def f(x):\n    return x\n"
    imports = "from math import pi\n\ndef f(x):\n    '''Doc.'''\n"
    assert program_of(imports, "def f(x):\n    return pi\n").startswith(imports)
    assert program_of("Write f.", "```python\ndef f(x): return x\n```") == "def f(x): return x"
    assert program_of("def f(x):\n", "def f(x): return 2") == "def f(x): return 2"


def test_tests_that_are_no_python_are_refused():
    with pytest.raises(BadData, match="line 7: target: is not Python"):
        code("x", Example(prompt="", target=("assert f(1",), line=7))


ESCAPES = {
    "fork bomb": "import os\nwhile True: os.fork()",
    "much memory": "x = bytearray(10 * 2**30)",
    "many small objects": "x = []\nwhile True: x.append(str(len(x)) * 10**5)",
    "exit before the tests": "import os\nos._exit(0)",
    "polite exit": "raise SystemExit(0)",
    "connection": "import socket\nsocket.create_connection(('127.0.0.1', {port}))",
    "listening": "import socket\nsocket.socket().bind(('127.0.0.1', 0))",
    "write outside": "open('{outside}', 'w').write('x')",
    "permissions outside": "import os\nos.chmod('{folder}', 0o777)",
    "delete outside": "import os\nos.remove('{victim}')",
    "read a secret": "open('{victim}').read()",
    "environment of the parent": "import os\nopen(f'/proc/{{os.getppid()}}/environ').read()",
    "way through a link": "import os\nos.symlink('{victim}', 'l')\nopen('l').read()",
    "another program": "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo > {outside}'])",
    "a subprocess": "import subprocess\nsubprocess.run(['true'])",
    "kill the grader": "import os\nos.kill(os.getppid(), 9)",
    "kill everything": "import os\nos.kill(-1, 9)",
    "more rights": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**60, 2**60))",
    "a huge file": "open('a', 'wb').write(b'x' * 10**8)",
    "a full disk": "for i in range(10**6): open(str(i), 'wb').write(b'x' * 10**6)",
    "flood on every handle": """
import os, contextlib
while True:
    for f in range(3, 20):
        with contextlib.suppress(OSError):
            os.write(f, b"x" * 999)
""",
    "forged answer": 'import os\nos.write(3, b\'{{"passed": "x"}}\\n\')\nos._exit(0)',
    "crash": "import ctypes\nctypes.string_at(0)",
}


@confined
@pytest.mark.parametrize("name", ESCAPES)
def test_hostile_programs_are_contained(name, tmp_path):
    victim, outside = tmp_path / "victim", tmp_path / "outside"
    victim.write_text("secret")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        program = ESCAPES[name].format(victim=victim, outside=outside, folder=tmp_path, port=port)
        found = run_program(program, Limits(timeout_s=20.0))
    assert found.status in ("failed", "killed"), found
    assert victim.read_text() == "secret" and not outside.exists()
    assert tmp_path.stat().st_mode & 0o777 != 0o777


@confined
@pytest.mark.parametrize(
    "program", ["while True: pass", "while True: print('x' * 10**6)", "import time\ntime.sleep(99)"]
)
def test_time_is_bounded(program):
    assert run_program(program, QUICK).status == "timeout"


@confined
def test_the_environment_is_empty_and_the_folder_its_own(monkeypatch):
    monkeypatch.setenv("SECRET_CANARY", "1")
    program = """
import os, sys, tempfile, asyncio, threading
assert "SECRET_CANARY" not in os.environ and "HOME" not in os.environ
assert os.listdir(".") == [] and sys.flags.isolated
open("a.txt", "w").write("x"); os.mkdir("d"); os.rename("a.txt", "d/b.txt")
assert open("d/b.txt").read() == "x"
thread = threading.Thread(target=print); thread.start(); thread.join()
async def three(): return 3
assert asyncio.run(three()) == 3
"""
    assert run_program(program) == run_program("pass")


def test_nothing_runs_where_it_cannot_be_confined(monkeypatch, tmp_path):
    script = tmp_path / "confined.py"
    script.write_text("import json\nprint(json.dumps({'confined': ['files']}), flush=True)")
    monkeypatch.setattr("consort.evaluate.sandbox.SCRIPT", script)
    with pytest.raises(Unsupported, match="cannot keep a program"):
        run_program("pass")


def write_task(folder):
    line = {"prompt": "def add(a, b):\n", "target": ["assert add(1, 2) == 3"]}
    (folder / "t.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "task.yml").write_text("test: t.jsonl\nmetric: code\ntimeout_s: 5\n")
    return folder


def test_it_is_off_by_default(tmp_path):
    with pytest.raises(BadData, match="runs what models write") as caught:
        load_task(write_task(tmp_path))
    assert "--allow-task-code" in str(caught.value.hint)


@confined
def test_a_task_with_consent(tmp_path):
    task = load_task(write_task(tmp_path), allow_code=True)
    assert task.metric_options == {"timeout_s": 5}
    assert evaluate(FakeModel(lambda _: "    return a + b"), task).score == 1.0
    assert evaluate(FakeModel(lambda _: "    return a"), task).score == 0.0


def human_eval(shared, count):
    with gzip.open(shared / "eval" / "humaneval" / "HumanEval.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines][:count]
    return [(r, Example(prompt=r["prompt"], target=(f"{r['test']}\ncheck({r['entry_point']})",))) for r in rows]


@confined
def test_reference_solutions_pass_and_empty_ones_fail(shared):
    for row, example in human_eval(shared, 12):
        assert code(row["canonical_solution"], example) == 1.0
        assert code("    return None\n", example) == 0.0


@confined
@pytest.mark.slow
def test_all_reference_solutions_pass(shared):
    assert all(code(row["canonical_solution"], example) for row, example in human_eval(shared, None))


def test_the_script_needs_the_standard_library_alone():
    assert os.path.exists(sys.executable)
    source = (run_program.__globals__["SCRIPT"]).read_text()
    assert "import torch" not in source and "from consort" not in source
