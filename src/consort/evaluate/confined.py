"""The process in which `sandbox` runs a program of which nothing is known: limits itself, runs it, says how it went.

Run as a script (`python -I -S confined.py`), it imports the standard library alone. Read from standard input, a job is
    {"program", "token", "filter", "older": str, "cpu_s", "memory_bytes", "file_bytes", "disk_bytes", "disk_files": int}
and the answer, on standard output, a line of JSON: {"confined": [...]} before the program starts, {"failed": "why"} or
{"passed": token} after. The program sees neither stream. Files: only what Python itself needs can be read, only the
working folder written (Landlock, Linux 5.13); where the system gives user namespaces, nothing else is there at all, and
the folder is a file system of its own that cannot grow. System calls: those of `filter` alone (seccomp), of `older`
where Landlock cannot yet keep files from being cut off (Linux before 6.2).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import resource
import struct
import sys
import sysconfig
import types
from typing import Any

DIES_WITH_PARENT, NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER, KILL = 1, 38, 22, 2, 9
NEW_MOUNTS, NEW_USER, NEW_NETWORK, NEW_IPC = 0x20000, 0x10000000, 0x40000000, 0x08000000
NO_SETUID, NO_DEVICES, NO_PROGRAMS, BIND, RECURSIVE, PRIVATE, DETACH = 2, 4, 8, 0x1000, 0x4000, 0x40000, 2
SET_MOUNT, FROM_HERE, WHOLE_TREE = 442, -100, 0x8000
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
HOME = "/box"
"""The program's folder where it has a root of its own."""
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights over files each version of Landlock knows; later ones know as many as the last."""
CUTS = 3
"""The version of Landlock that keeps files from being cut off."""


def limit(job: dict[str, Any]) -> None:
    """Bounds by the kernel that hold on every POSIX system."""
    wanted = {
        "RLIMIT_CPU": job["cpu_s"],
        "RLIMIT_AS": job["memory_bytes"],
        "RLIMIT_FSIZE": job["file_bytes"],
        "RLIMIT_NOFILE": 64,
        "RLIMIT_NPROC": 64,
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        if hasattr(resource, name):
            hard = resource.getrlimit(getattr(resource, name))[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(getattr(resource, name), (most, most))


def confine(libc: Any, job: dict[str, Any]) -> list[str]:
    """Gives up files, network and processes; the names of what the system let it give up."""
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0 or libc.prctl(DIES_WITH_PARENT, KILL, 0, 0, 0) != 0:
        return []
    done = []
    user, group = os.getuid(), os.getgid()
    if libc.unshare(NEW_USER | NEW_NETWORK | NEW_IPC | NEW_MOUNTS) == 0:
        done.append("namespaces")
        if own_root(libc, job, user, group):
            done.append("root")
    elif libc.unshare(NEW_USER | NEW_NETWORK | NEW_IPC) == 0:
        done.append("namespaces")
    if restrict_files(libc):
        done.append("files")
    drop_capabilities(libc)
    if filter_calls(libc, bytes.fromhex(job["filter" if landlock(libc) >= CUTS else "older"])):
        done += ["network", "processes"]
    return done


def own_root(libc: Any, job: dict[str, Any], user: int, group: int) -> bool:
    """A root with what Python reads and a folder of bounded size; False where the system allows none of it.

    What was mounted before a refusal is seen by this process alone and goes with it.
    """
    old = os.getcwd()
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        _mount(libc, None, "/", None, RECURSIVE | PRIVATE)
        _mount(libc, "tmpfs", old, "tmpfs", NO_SETUID | NO_DEVICES, "size=1m,mode=755")
        for path in sorted(readable() | {"/dev/null", "/dev/urandom"}):
            _show(libc, path, old + path)
        read_only = struct.pack("4Q", 1, 0, 0, 0)
        for path in readable():
            if os.path.isdir(path) and not os.path.islink(path):
                where = (FROM_HERE, (old + path).encode(), WHOLE_TREE, read_only, len(read_only))
                _succeed(libc.syscall(SET_MOUNT, *where))
        os.makedirs(old + HOME)
        size = f"size={job['disk_bytes']},nr_inodes={job['disk_files']},mode=700"
        _mount(libc, "tmpfs", old + HOME, "tmpfs", NO_SETUID | NO_DEVICES | NO_PROGRAMS, size)
        os.makedirs(old + "/old")
        _succeed(libc.syscall(PIVOT_ROOT[platform.machine()], old.encode(), (old + "/old").encode()))
        os.chdir(HOME)
        _succeed(libc.umount2(b"/old", DETACH))
        os.rmdir("/old")
    except (KeyError, OSError):
        return False
    return True


def _show(libc: Any, path: str, place: str) -> None:
    """Let what stands at `path` stand at `place` too."""
    if os.path.islink(path):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.symlink(os.readlink(path), place)
    elif os.path.isdir(path):
        os.makedirs(place, exist_ok=True)
        _mount(libc, path, place, None, BIND | RECURSIVE)
    elif os.path.exists(path):
        os.makedirs(os.path.dirname(place), exist_ok=True)
        open(place, "w").close()
        _mount(libc, path, place, None, BIND)


def _mount(libc: Any, source: str | None, place: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, place, kind, options)]
    _succeed(libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]))


def _succeed(answer: int) -> None:
    if answer != 0:
        raise OSError(ctypes.get_errno(), "refused")


def drop_capabilities(libc: Any) -> None:
    """What the namespaces gave this process over themselves is given back."""
    header, nothing = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    libc.capset(header, nothing)


def landlock(libc: Any) -> int:
    """The version of Landlock that the system has, below 1 for none."""
    return int(libc.syscall(CREATE_RULESET, None, 0, 1))


def restrict_files(libc: Any) -> bool:
    """Landlock: read what Python needs, write in the working folder."""
    version = landlock(libc)
    if version < 1:
        return False
    everything = (1 << FS_RIGHTS.get(version, 16)) - 1
    words = [everything, *([3] if version >= 4 else []), *([3] if version >= 6 else [])]
    attributes = struct.pack(f"{len(words)}Q", *words)
    rules = libc.syscall(CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    inside = everything & ~EXECUTE & ~(1 << 15)
    allowed = {path: READ_FILE | READ_DIR for path in readable()}
    allowed |= {"/dev/null": READ_FILE | WRITE_FILE, "/dev/urandom": READ_FILE, ".": inside}
    for path, rights in allowed.items():
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights &= everything if os.path.isdir(path) else EXECUTE | WRITE_FILE | READ_FILE
            added = libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", rights, handle), 0)
            os.close(handle)
            if added != 0:
                return False
    return bool(libc.syscall(RESTRICT_SELF, rules, 0) == 0)


def readable() -> set[str]:
    """Python's own library and the system's shared ones; no home, no /proc, no /etc."""
    own = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return {path for path in (*own, "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/lib", "/lib64") if path}


def filter_calls(libc: Any, code: bytes) -> bool:
    """Leaves this process the system calls that the filter allows; False where there is none for this machine."""
    if not code:
        return False
    program = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HL", len(code) // 8, ctypes.addressof(program))
    return bool(libc.prctl(SET_SECCOMP, FILTER, header, 0, 0) == 0)


def main_module() -> types.ModuleType:
    """A module of its own for the program, so that what looks it up (pickle, dataclasses) finds its names."""
    sys.modules["__main__"] = made = types.ModuleType("__main__")
    return made


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    report, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    write, leave = os.write, os._exit
    limit(job)
    done = confine(ctypes.CDLL(None, use_errno=True), job) if sys.platform == "linux" else []
    write(report, json.dumps({"confined": done}).encode() + b"\n")
    if not {"files", "network"} <= set(done):
        leave(0)
    answer = {"passed": job.pop("token")}
    try:
        exec(compile(job["program"], "<program>", "exec"), main_module().__dict__)
    except BaseException as fault:
        answer = {"failed": f"{type(fault).__name__}: {str(fault)[:300]}"}
    write(report, json.dumps(answer).encode() + b"\n")
    leave(0)


if __name__ == "__main__":
    main()
