"""Programs that try to get out of the sandbox, and ordinary ones that must not notice it (field cases F11 to F14)."""

from __future__ import annotations

import os
import resource
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from consort.core.errors import Unsupported
from consort.evaluate import sandbox
from consort.evaluate.own_folder import MOST_FILES, is_full, remove
from consort.evaluate.sandbox import Limits, run_program


def can_confine() -> bool:
    try:
        return run_program("pass").passed
    except Unsupported:
        return False


pytestmark = pytest.mark.skipif(not can_confine(), reason="this system cannot confine a program (Linux 5.13 or later)")


OLDER_LANDLOCK = "Linux 5.13, no namespaces"


@pytest.fixture(params=["a root of its own", "no namespaces", OLDER_LANDLOCK])
def system(request, monkeypatch, tmp_path_factory):
    """With what the machine gives, and as on machines whose containers may not make namespaces, new and old."""
    if request.param != "a root of its own":
        text = sandbox.SCRIPT.read_text()
        assert text.count("libc.unshare(") == 2
        text = text.replace("libc.unshare(", "(lambda flags: -1)(")
        if request.param == OLDER_LANDLOCK:
            asked = "int(libc.syscall(CREATE_RULESET, None, 0, 1))"
            assert text.count(asked) == 1
            text = text.replace(asked, "1")
        script = tmp_path_factory.mktemp("script") / "confined.py"
        script.write_text(text)
        monkeypatch.setattr(sandbox, "SCRIPT", script)
    return request.param


HEAD = """
import ctypes, errno, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
parent, victim, outside, folder, port, door = os.getppid(), {victim!r}, {outside!r}, {folder!r}, {port}, {door!r}
def call(x86, arm, *arguments):
    found = libc.syscall(x86 if os.uname().machine == "x86_64" else arm, *arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""
ESCAPES = {
    # processes outside
    "F11 the grader becomes idle": "os.sched_setscheduler(parent, os.SCHED_IDLE, os.sched_param(0))",
    "F11 the grader is bound to a processor": "os.sched_setaffinity(parent, [0])",
    "F11 its scheduling is changed": "os.sched_setparam(parent, os.sched_param(0))",
    "F11 sched_setattr": "call(314, 274, parent, struct.pack('IIQiIQQQ', 48, 5, 0, 0, 0, 0, 0, 0), 0)",
    "F11 its disk priority": "call(251, 30, 1, parent, 3 << 13)",
    "F11 its priority": "os.setpriority(os.PRIO_PROCESS, parent, 19)",
    "F11 its limits": "import resource; resource.prlimit(parent, resource.RLIMIT_NOFILE, (64, 64))",
    "F11 its limits, read": "import resource; resource.prlimit(parent, resource.RLIMIT_NOFILE)",
    "F11 its affinity, read": "os.sched_getaffinity(parent)",
    "its own priority": "os.nice(5)",
    "is it there": "os.kill(parent, 0)",
    "a signal to the grader": "os.kill(parent, 10)",
    "a signal to all": "os.kill(-1, 10)",
    "a signal to the group": "os.kill(0, 9)",
    "tgkill": "call(234, 131, parent, parent, 10)",
    "tkill": "call(200, 130, parent, 10)",
    "a queued signal": "call(129, 138, parent, 10, bytes(128))",
    "a handle of the grader": "os.pidfd_open(parent)",
    "ptrace": "call(101, 117, 16, parent, 0, 0)",
    "its memory, read": "call(310, 270, parent, 0, 0, 0, 0, 0)",
    "its memory, written": "call(311, 271, parent, 0, 0, 0, 0, 0)",
    "its pages moved": "call(279, 239, parent, 0, 0, 0, 0, 0)",
    "compared": "call(312, 272, parent, os.getpid(), 1, 0, 0)",
    "its group": "os.getpgid(parent)",
    "another session": "os.setsid()",
    "owner of a stream": """
import fcntl
a, b = socket.socketpair()
fcntl.fcntl(a, fcntl.F_SETOWN, parent)
fcntl.fcntl(a, fcntl.F_SETFL, os.O_ASYNC)
b.send(b'x')
""",
    "owner by ioctl": "import fcntl; a, b = socket.socketpair(); fcntl.ioctl(a, 0x8901, struct.pack('i', parent))",
    "owner, extended": "import fcntl; a, b = socket.socketpair(); fcntl.fcntl(a, 15, struct.pack('ii', 1, parent))",
    "a timer for another": "call(222, 107, 0, struct.pack('QiiQ', 0, 10, 4, parent) + bytes(64), bytes(8))",
    # new processes
    "fork": "os.fork()",
    "vfork": "call(58, 220, 17, 0, 0, 0, 0)",
    "clone": "call(56, 220, 17, 0, 0, 0, 0)",
    "clone3": "call(435, 435, bytes(88), 88)",
    "a thread in a new network": "call(56, 220, 0x40010900, 0, 0, 0, 0)",
    "spawn": "os.posix_spawn('/bin/true', ['true'], {{}})",
    "exec": "os.execv('/bin/sh', ['sh', '-c', 'echo > ' + outside])",
    "execveat": "call(322, 281, -100, b'/bin/true', 0, 0, 0)",
    "subprocess": "import subprocess; subprocess.run(['touch', outside])",
    "multiprocessing": "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
    "a pool of processes": "import multiprocessing as m; m.Pool(1)",
    # sockets
    "F12 a datagram to a path": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', door)",
    "F12 a packet to a path": "socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[0].sendto(b'x', door)",
    "F12 a stream to a path": "a, b = socket.socketpair()\nwhile True: a.sendto(b'x', door)",
    "F12 a message to a path": "a, b = socket.socketpair(); a.sendmsg([b'x'], [], 0, door)",
    "F12 a stream is connected": "a, b = socket.socketpair(); a.connect(door)",
    "a datagram of its own": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', door)",
    "an abstract name": "socket.socket(socket.AF_UNIX).connect('\\0consort')",
    "a socket in its folder": "socket.socket(socket.AF_UNIX).bind('here')",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))",
    "TCP": "socket.create_connection(('127.0.0.1', port))",
    "listening": "socket.socket().listen()",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "packets": "socket.socket(17, socket.SOCK_RAW)",
    "the kernel's ciphers": "socket.socket(38, 5)",
    # doors of the kernel
    "io_uring": "call(425, 425, 8, bytes(120))",
    "bpf": "call(321, 280, 0, bytes(64), 64)",
    "perf": "call(298, 241, bytes(128), 0, -1, -1, 0)",
    "userfaultfd": "call(323, 282, 0)",
    "keys": "call(250, 219, 0, -3, 1)",
    "a file without a name": "os.memfd_create('x')",
    "shared memory": "call(29, 194, 0, 4096, 0o1600)",
    "semaphores": "call(64, 190, 0, 1, 0o1600)",
    "message queues": "call(68, 186, 0, 0o1600)",
    "message queues with names": "call(240, 180, b'consort', 0o102, 0o600, 0)",
    "a secret file without a name": "call(447, 447, 0)",
    "a file system": "call(430, 430, b'tmpfs', 0)",
    "a tree of files": "call(428, 428, -100, b'/', 1)",
    "a handle of another's handle": "call(438, 438, 3, 0, 0)",
    "a signal to a handle": "call(424, 424, 3, 9, 0, 0)",
    "advice on another's memory": "call(440, 440, 3, 0, 0, 20, 0)",
    "its pages": "call(256, 238, parent, 0, 0, 0)",
    "its robust locks": "call(274, 100, parent, bytes(8), bytes(8))",
    "another personality": "call(135, 92, 0x0040000)",
    "messages of the kernel": "call(103, 116, 3, bytes(99), 99)",
    "a child of the grader": "call(56, 220, 0x8011, 0, 0, 0, 0)",
    "a thread of new users": "call(56, 220, 0x10010900, 0, 0, 0, 0)",
    "a larger pipe": "import fcntl; r, w = os.pipe(); fcntl.fcntl(w, 1031, 1 << 20)",
    "a message with handles": "a, b = socket.socketpair(); b.recvmsg(1)",
    "virtual machines' sockets": "socket.socket(40, 1)",
    "mount": "call(165, 40, b'tmpfs', b'.', b'tmpfs', 0, 0)",
    "namespaces": "call(272, 97, 0x10000000)",
    "another's namespaces": "call(308, 268, 0, 0)",
    "chroot": "os.chroot('.')",
    "pivot_root": "call(155, 41, b'.', b'.')",
    "the host's name": "socket.sethostname('x')",
    "the clock": "import time; time.clock_settime(0, 0)",
    "capabilities": "call(126, 91, struct.pack('Ii', 0x20080522, 0), b'\\xff' * 24)",
    "who it is": "os.setuid(0)",
    "its limits": "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))",
    "prctl": "call(157, 167, 4, 1, 0, 0, 0)",
    "kernel modules": "call(175, 105, 0, 0, b'')",
    "all is written to disk": "call(162, 81)",
    "splice": "r, w = os.pipe(); call(275, 76, r, 0, w, 0, 1, 0)",
    # files outside
    "write outside": "open(outside, 'w').write('x')",
    "a folder outside": "os.mkdir(outside)",
    "delete": "os.remove(victim)",
    "overwrite": "open(victim, 'r+').write('x')",
    "cut off": "os.truncate(victim, 0)",
    "cut off while it is read": "os.open(victim, os.O_RDONLY | os.O_TRUNC)",
    "cut off by an old call": "call(76, 45, victim.encode(), 0)",
    "a device is left behind": "open('m', 'w').close(); call(316, 276, -100, b'm', -100, b'n', 4)",
    "exchanged": "open('m', 'w').close(); call(316, 276, -100, b'm', -100, victim.encode(), 2)",
    "moved out": "open('m', 'w').close(); os.rename('m', outside)",
    "a link outside": "os.symlink('x', outside)",
    "written through a link": "os.symlink(outside, 'l'); open('l', 'w')",
    "a file without a name outside": "os.open(folder, os.O_TMPFILE | os.O_RDWR)",
    "read by a handle": "fd = os.open(victim, os.O_PATH); open(f'/proc/self/fd/{{fd}}').read()",
    "read by another's root": "open(f'/proc/{{parent}}/root{{victim}}').read()",
    "open files of the grader": "os.listdir(f'/proc/{{parent}}/fd')",
    "openat2": "call(437, 437, -100, victim.encode(), bytes(24), 24)",
    "rename": "os.rename(victim, 'mine')",
    "a hard link": "os.link(victim, 'mine')",
    "a link to a secret": "os.symlink(victim, 'l'); open('l').read()",
    "read a secret": "open(victim).read()",
    "list a folder": "os.listdir(folder)",
    "permissions": "os.chmod(victim, 0o777)",
    "owner": "os.chown(victim, os.getuid(), os.getgid())",
    "times": "os.utime(victim, (0, 0))",
    "attributes": "os.setxattr(victim, 'user.x', b'x')",
    "Python's own library": "open(os.__file__, 'a').write('x')",
    "permissions of the library": "os.chmod(os.__file__, 0o777)",
    "times of the library": "os.utime(os.__file__)",
    "a lock on the library": "import fcntl; fcntl.flock(open(os.__file__), fcntl.LOCK_EX)",
    "a lease": "import fcntl; fcntl.fcntl(open(os.__file__), 1024, 0)",
    "by handle": "call(303, 264, -100, victim.encode(), bytes(144), bytes(8), 0)",
    "F14 inotify": "call(253, 26, 0)\n" if os.uname().machine == "x86_64" else "call(294, 26, 0)",
    "F14 inotify1": "call(294, 26, 0)",
    "F14 fanotify": "call(300, 262, 0, 0)",
    "the grader's environment": "open(f'/proc/{{parent}}/environ').read()",
    "its own memory as a file": "open('/proc/self/mem', 'r+b').write(b'x')",
    "devices": "open('/dev/mem', 'rb').read(1)",
    "shared files": "open('/dev/shm/consort-escape', 'w').write('x')",
    "the terminal": "import fcntl; fcntl.ioctl(os.open('/dev/null', os.O_RDWR), 0x5412, b'x')",
    "a device of its own": "os.mknod('d', 0o20666, os.makedev(1, 1))",
    "a pipe with a name": "os.mkfifo('p')",
    "statx of nothing": "os.stat(outside)",
    # the disk
    "F13 deep folders with long names": """
for i in range(20):
    os.mkdir('n' * 250); os.chdir('n' * 250)
for i in range(400):
    with open(str(i), 'wb') as file: file.write(bytes(10**6))
""",
    "F13 two thousand folders": "for i in range(2000): os.mkdir('d'); os.chdir('d')",
    "F13 many files": "for i in range(10**5): open(str(i), 'w').close()",
    "F13 files without names": """
kept = []
while True:
    for i in range(40):
        file = open('f', 'wb', buffering=0); file.write(bytes(10**6)); os.remove('f'); kept.append(file)
    import time; time.sleep(99)
""",
    "F13 mapped files without names": """
import mmap, time
kept = []
for i in range(100):
    file = open('f', 'w+b'); file.write(bytes(10**6)); file.flush()
    kept.append(mmap.mmap(file.fileno(), 4096)); file.close(); os.remove('f')
time.sleep(99)
""",
    "F13 space is reserved": "os.posix_fallocate(os.open('f', os.O_CREAT | os.O_RDWR), 0, 10**9)",
    "F13 a hole": "open('f', 'wb').truncate(10**12)",
    "F13 folders that may not be read": "os.umask(0o777); os.mkdir('d'); open('d/x', 'w')\nraise SystemExit",
}


def state_of_the_grader() -> tuple[object, ...]:
    return (
        os.sched_getscheduler(0),
        os.sched_getaffinity(0),
        os.getpriority(os.PRIO_PROCESS, 0),
        resource.getrlimit(resource.RLIMIT_NOFILE),
        Path(os.__file__).stat().st_mtime_ns,
        Path(os.__file__).stat().st_mode,
    )


ADDRESSED = [name for name in ESCAPES if name.startswith("F12")]


@pytest.mark.parametrize("name", [name for name in ESCAPES if name not in ADDRESSED])
def test_F11_to_F14_no_program_gets_out(name, system, tmp_path, monkeypatch, tmp_path_factory):
    tried(name, tmp_path, monkeypatch, tmp_path_factory)


@pytest.mark.parametrize("name", ADDRESSED)
def test_F12_nothing_is_sent_to_a_socket_outside(name, system, tmp_path, monkeypatch, tmp_path_factory):
    tried(name, tmp_path, monkeypatch, tmp_path_factory)


def tried(name, tmp_path, monkeypatch, tmp_path_factory):
    """The program is refused or ended, and nothing outside is other than before."""
    folders = tmp_path_factory.mktemp("folders")
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    victim, outside, door = tmp_path / "victim", tmp_path / "outside", tmp_path / "door"
    victim.write_text("secret")
    heard: list[int] = []
    before, old = state_of_the_grader(), signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as letters, socket.socket() as server:
            letters.bind(str(door))
            letters.setblocking(False)
            server.bind(("127.0.0.1", 0))
            server.listen()
            server.setblocking(False)
            places = {"victim": str(victim), "outside": str(outside), "folder": str(tmp_path), "door": str(door)}
            program = (HEAD + ESCAPES[name]).format(port=server.getsockname()[1], **places)
            found = run_program(program, Limits(timeout_s=5.0))
            assert found.status in ("failed", "killed"), found
            assert "SyntaxError" not in found.detail and "NameError" not in found.detail, found
            with pytest.raises(BlockingIOError):
                letters.recv(1)
            with pytest.raises(BlockingIOError):
                server.accept()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert state_of_the_grader() == before and not heard
    assert (
        victim.read_text() == "secret" and not outside.exists() and sorted(os.listdir(tmp_path)) == ["door", "victim"]
    )
    assert not Path("/dev/shm/consort-escape").exists() and not os.listdir(folders)


def test_F14_paths_outside_do_not_exist_where_there_are_namespaces(tmp_path):
    if "root" not in told(tmp_path):
        pytest.skip("this system gives no namespaces: docs/grading_code.md says what can be seen then")
    program = f"import os\nassert not os.path.exists({str(tmp_path)!r}) and not os.path.exists('/etc/passwd')"
    assert run_program(program).passed


def told(folder: Path) -> list[str]:
    import json
    import subprocess
    import sys

    job = {"cpu_s": 5, "memory_bytes": 1 << 29, "file_bytes": 1, "disk_bytes": 1 << 20, "disk_files": 9, "filter": ""}
    made = subprocess.run(
        [sys.executable, "-I", "-S", str(sandbox.SCRIPT)],
        input=json.dumps(job).encode(),
        cwd=folder,
        capture_output=True,
    )
    return list(json.loads(made.stdout.splitlines()[0])["confined"])


ORDINARY = """
import asyncio, bisect, collections, copy, csv, dataclasses, datetime, decimal, difflib, doctest, enum, fractions
import functools, hashlib, heapq, io, itertools, json, logging, math, operator, os, pathlib, pickle, pprint, queue
import random, re, secrets, shutil, signal, sqlite3, statistics, string, struct, tempfile, textwrap, threading, time
import typing, unittest, uuid, zoneinfo
from concurrent.futures import ThreadPoolExecutor

assert json.loads(json.dumps({"a": [1, 2.5, None]})) == {"a": [1, 2.5, None]}
assert re.sub(r"(\\w)\\1", "<>", "hello") == "he<>o" and math.isclose(math.pi, 3.14159, rel_tol=1e-5)
random.seed(3); assert random.random() == random.Random(3).random() and len(secrets.token_hex(4)) == 8
assert datetime.date(2026, 1, 31) + datetime.timedelta(1) == datetime.date(2026, 2, 1)
assert datetime.datetime.now().year >= 2020 and time.monotonic() > 0 and time.sleep(0.001) is None
summer = datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
assert summer.utcoffset() == datetime.timedelta(hours=2)

@dataclasses.dataclass(order=True)
class Point:
    x: int
    y: int = 0

assert Point(1) < Point(2) and pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2) == copy.deepcopy(Point(1, 2))

with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder) / "a.txt"
    place.write_text("one\\ntwo\\n")
    shutil.copyfile(place, pathlib.Path(folder) / "b.txt")
    assert place.exists() and place.stat().st_size == 8 and len(os.listdir(folder)) == 2
    (pathlib.Path(folder) / "sub" / "deep").mkdir(parents=True)
assert not os.path.exists(folder)
with tempfile.NamedTemporaryFile("w+") as file:
    csv.writer(file).writerow([1, "x,y"]); file.seek(0)
    assert list(csv.reader(file)) == [["1", "x,y"]]
os.rename(pathlib.Path("x").write_text("1") and "x", "y"); os.remove("y")

found, lock = [], threading.Lock()
def work(n):
    with lock: found.append(n)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert sorted(found) == list(range(8))
with ThreadPoolExecutor(4) as pool: assert list(pool.map(abs, [-1, -2])) == [1, 2]
waiting = queue.Queue(); waiting.put(1); assert waiting.get(timeout=1) == 1

async def late(n):
    await asyncio.sleep(0.001)
    return n
async def all_of_them(): return await asyncio.gather(late(1), late(2), asyncio.to_thread(abs, -3))
assert asyncio.run(all_of_them()) == [1, 2, 3]
async def slow():
    try: await asyncio.wait_for(asyncio.sleep(9), 0.01)
    except asyncio.TimeoutError: return "late"
assert asyncio.run(slow()) == "late"

class Test(unittest.TestCase):
    def test_it(self): self.assertEqual(1 + 1, 2)
suite = unittest.defaultTestLoader.loadTestsFromTestCase(Test)
assert unittest.TextTestRunner(stream=io.StringIO()).run(suite).wasSuccessful()

def rang(*_): raise TimeoutError
signal.signal(signal.SIGALRM, rang); signal.setitimer(signal.ITIMER_REAL, 0.01)
try: time.sleep(5)
except TimeoutError: pass
else: raise AssertionError
signal.signal(signal.SIGUSR1, lambda *_: found.append("me"))
os.kill(os.getpid(), signal.SIGUSR1); assert found[-1] == "me"

base = sqlite3.connect(":memory:"); base.execute("create table t (a)"); base.execute("insert into t values (1)")
assert base.execute("select sum(a) from t").fetchone() == (1,)
assert hashlib.sha256(b"").hexdigest()[:6] == "e3b0c4" and uuid.uuid4().version == 4
assert decimal.Decimal("0.1") * 3 == decimal.Decimal("0.3") and statistics.median([3, 1, 2]) == 2
assert os.cpu_count() and os.getcwd() and len(os.sched_getaffinity(0)) >= 1
print("seen by nobody"); logging.warning("so is this")
"""


def test_ordinary_programs_do_not_notice(system):
    assert run_program(ORDINARY, Limits(timeout_s=30.0)) == run_program("pass")


def test_F13_any_folder_is_measured_and_removed(tmp_path):
    own, home = tmp_path / "own", os.getcwd()
    own.mkdir()
    (own / "link").symlink_to(tmp_path)
    (tmp_path / "kept").write_text("x")
    assert not is_full(own)
    try:
        os.chdir(own)
        for name in ["n" * 250] * 20 + ["d"] * 2000:
            os.mkdir(name)
            os.chdir(name)
        Path("file").write_text("x")
        os.mkdir("shut", 0)
    finally:
        os.chdir(home)
    assert is_full(own)
    remove(own)
    assert os.listdir(tmp_path) == ["kept"]
    own.mkdir()
    for i in range(MOST_FILES):
        (own / str(i)).touch()
    assert not is_full(own)
    (own / "more").touch()
    assert is_full(own)


def test_F13_an_error_while_measuring_counts_as_full(tmp_path, monkeypatch):
    def broken(path):
        raise OSError(5, "input/output error")

    assert not is_full(tmp_path)
    monkeypatch.setattr("os.scandir", broken)
    assert is_full(tmp_path)


def test_a_program_whose_grader_dies_dies_too(tmp_path):
    import subprocess
    import sys
    import time

    script = "import os; from consort.evaluate.sandbox import run_program, Limits\n"
    script += "print(os.getpid(), flush=True); run_program('import time; time.sleep(60)', Limits(timeout_s=60))"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=os.environ) as grader:
        children: list[str] = []
        for _ in range(200):
            time.sleep(0.05)
            children = Path(f"/proc/{grader.pid}/task/{grader.pid}/children").read_text().split()
            if children and b"confined.py" in Path(f"/proc/{children[0]}/cmdline").read_bytes():
                break
        time.sleep(0.5)
        grader.kill()
    for _ in range(100):
        if all(not Path(f"/proc/{child}").exists() for child in children):
            return
        time.sleep(0.05)
    raise AssertionError(children)
