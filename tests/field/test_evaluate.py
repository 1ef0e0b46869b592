"""Cases from the field about tasks and metrics: C8, D13, F4, F5, F17, and tables as tasks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from consort.core.errors import BadData, BadParameter, MissingExtra
from consort.core.guard import users_code
from consort.data import load_task
from consort.evaluate import evaluate
from consort.evaluate.registry import find_metric
from consort.models.fake import FakeModel

ROW = {"prompt": "2+2=", "target": "4"}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A task graded by a function of the user's whose body is given."""

    def write(body, *, at_import=""):
        name = f"own_{abs(hash((body, at_import)))}"
        (tmp_path / f"{name}.py").write_text(f"import os, sys\n{at_import}\ndef grade(answer, example):\n    {body}\n")
        (tmp_path / "t.jsonl").write_text(json.dumps(ROW) + "\n")
        (tmp_path / "task.yml").write_text(f"test: t.jsonl\nmetric: {name}:grade\n")
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path, f"metric {name}:grade"

    return write


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("sys.exit(0)", "raised SystemExit: 0"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
        ("raise GeneratorExit", "raised GeneratorExit"),
        ("raise StopIteration", "raised StopIteration"),
        ("return 1 / 0", "raised ZeroDivisionError: division by zero"),
        ("return 'many'", "raised ValueError"),
        ("return float('nan')", "returned nan"),
        ("raise ValueError('\\x1b[31mred\\x07 \\u202eturned')", r"raised ValueError: \x1b[31mred\x07 \u202eturned"),
    ],
)
def test_F5_whatever_a_users_metric_raises_is_named(own, body, says):
    folder, where = own(body)
    with pytest.raises(BadData) as caught:
        evaluate(FakeModel(lambda _: "4"), load_task(folder, allow_code=True))
    assert caught.value.message.startswith(says) and caught.value.field.endswith(f"{where}, line 1")
    assert str(caught.value).isprintable() and caught.value.exit_code == 2 and caught.value.hint


@pytest.mark.parametrize("line", ["sys.exit(0)", "raise KeyboardInterrupt", "raise OSError('\\x1b]0;x\\x07')"])
def test_F5_so_is_what_its_module_does_when_it_is_imported(own, line):
    folder, where = own("return 1", at_import=line)
    with pytest.raises(BadData, match="raised") as caught:
        load_task(folder, allow_code=True)
    assert caught.value.field.endswith(where) and str(caught.value).isprintable()


@pytest.mark.parametrize("body", ["sys.exit(0)", "raise KeyboardInterrupt"])
def test_F5_on_the_command_line(own, tmp_path, body):
    folder, where = own(body)
    command = [sys.executable, "-m", "consort", "eval", "lab:base", "--task", str(folder), "--allow-task-code"]
    paths = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths})
    assert found.returncode == 2 and found.stdout == "", found.stderr
    error, hint = found.stderr.strip().splitlines()[-2:]
    assert error.startswith("error: ") and where in error and hint.startswith("hint: ")


def test_F5_the_person_at_the_keyboard_is_still_obeyed():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    with pytest.raises(KeyboardInterrupt), users_code("metric x", "return a number"):
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(5)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.csv", "t.parquet"])
def test_F17_a_huge_sparse_file_is_refused_in_the_first_read(tmp_path, name):
    if name == "t.parquet":
        pytest.importorskip("pyarrow")
    with open(tmp_path / name, "wb") as file:
        file.truncate(3 * 10**9)
    read = bytes_read()
    with pytest.raises(BadData):
        load_task(tmp_path / name)
    assert bytes_read() - read < 1 << 26


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_F17_so_is_one_with_a_good_beginning(tmp_path, name):
    good = json.dumps(ROW) if name == "t.jsonl" else "prompt,target\n2+2=,4"
    (tmp_path / name).write_text(good + "\n")
    os.truncate(tmp_path / name, 3 * 10**9)
    read = bytes_read()
    with pytest.raises(BadData, match="not text") as caught:
        load_task(tmp_path / name)
    assert caught.value.field == f"{name}:{2 if name == 't.jsonl' else 3}" and bytes_read() - read < 1 << 26


def bytes_read() -> int:
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])


def test_C8_three_right_answers_are_no_certainty(tmp_path):
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps(ROW | {"prompt": str(i), "split": "test"}) + "\n" for i in range(9))
    )
    for metric, answer in (("exact_match", "4"), ("token_f1", "4"), ("contains", "it is 4")):
        (tmp_path / "task.yml").write_text(f"test: t.jsonl\nmetric: {metric}\n")
        found = evaluate(FakeModel(lambda _, answer=answer: answer), load_task(tmp_path), limit=3)
        assert found.score == 1 and found.interval == pytest.approx((0.4385, 1.0), abs=1e-4)


BROKEN = [("numeric", {"tolerance": 2}), ("contains", {"last_words": -1}), ("code", {"timeout_s": 0})]


@pytest.mark.parametrize(("name", "options"), [*BROKEN, ("numeric", {"tolerence": 0.1})])
def test_D13_a_metrics_options_hold_in_python(name, options):
    with pytest.raises(BadParameter):
        find_metric(name, options)
    with pytest.raises(BadParameter):
        find_metric(name)(**options)


HEADER = "prompt,target,choices,answer,split,note"
TABLE = f"""{HEADER}
"2+2=
",4,,,dev,a
"say ""x"", y","[""x"", ""X""]",,,test,b
Which?,,"["" a"", "" b""]",1,test,c
"""


def test_a_csv_file_is_a_task(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeff" + TABLE.rsplit("\n", 2)[0] + "\n", encoding="utf-8")
    task = load_task(tmp_path / "t.csv")
    assert (task.name, task.metric, [e.line for e in task.dev + task.test]) == ("t", "exact_match", [2, 4])
    assert task.dev[0].prompt == "2+2=\n" and task.dev[0].target == ("4",)
    assert task.test[0].prompt == 'say "x", y' and task.test[0].target == ("x", "X")
    (tmp_path / "t.csv").write_text(HEADER + "\n" + TABLE.splitlines()[-1] + "\n")
    task = load_task(tmp_path / "t.csv")
    assert (task.metric, task.test[0].choices, task.test[0].answer) == ("choice", (" a", " b"), 1)
    (tmp_path / "task.yml").write_text("test: t.csv\nmetric: multiple_choice\n")
    assert load_task(tmp_path).metric == "multiple_choice"


def test_a_table_is_cut_as_the_same_lines_of_json_are(tmp_path):
    rows = [{"prompt": f"{i}, é", "target": str(i)} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    (tmp_path / "t.tsv").write_text("prompt\ttarget\n" + "".join(f"{r['prompt']}\t{r['target']}\n" for r in rows))
    (tmp_path / "t.csv").write_text((tmp_path / "t.tsv").read_text().replace("\t", ";"))
    lines = load_task(tmp_path / "t.jsonl")
    for table in (load_task(tmp_path / "t.tsv"), load_task(tmp_path / "t.csv")):
        assert [e.prompt for e in lines.dev] == [e.prompt for e in table.dev] and lines.key == table.key


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("prompt,traget\na,b\n", "t.csv:1", "unknown column 'traget'"),
        ("a,b\n1,2\n", "t.csv:1", "no known column"),
        ("prompt,prompt,target\n1,2,3\n", "t.csv:1", "stands twice"),
        ("prompt,target\na\n", "t.csv:2", "1 cells under 2 columns"),
        ("prompt,target\na,b\nc,\n", "t.csv:3", "column target is missing"),
        ('prompt,target\na,"b\n', "t.csv:2", "not CSV"),
        ('prompt,choices,answer\na,"[""x"", ""y""]",two\n', "t.csv:2: answer", "'two' is not"),
        ("prompt,target\n", "t.csv", "no examples"),
    ],
)
def test_a_bad_table_names_file_line_and_column(tmp_path, text, field, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadData) as caught:
        load_task(tmp_path / "t.csv")
    assert caught.value.field.removeprefix(f"{tmp_path}/") == field and message in caught.value.message
    assert caught.value.hint


def test_a_parquet_file_is_a_task(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    chat = [{"role": "user", "content": "hi"}]
    rows = [ROW | {"split": "dev", "id": 1}, {"messages": chat, "target": "x", "split": "test", "id": 2}]
    parquet.write_table(
        arrow.Table.from_pylist([dict.fromkeys(("prompt", "messages")) | r for r in rows]), tmp_path / "t.parquet"
    )
    task = load_task(tmp_path / "t.parquet")
    assert task.dev[0].prompt == "2+2=" and task.test[0].messages == tuple(chat) and task.test[0].line == 2
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadData, match="not a Parquet file"):
        load_task(tmp_path / "t.parquet")


def test_parquet_without_pyarrow_is_refused_with_a_hint(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra) as caught:
        load_task(tmp_path / "t.parquet")
    assert "consort[tables]" in caught.value.hint
