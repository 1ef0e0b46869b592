"""The process in which `sandbox` runs a program of which nothing is known: limits itself, runs it, says how it went.

Run as a script (`python -I -S confined.py`), it imports the standard library alone. Read from standard input, a job is
    {"program": str, "token": str, "cpu_s", "memory_bytes", "file_bytes": int}
and the answer, on standard output, a line of JSON: {"confined": [...]} before the program starts, {"failed": "why"} or
{"passed": token} after. The program sees neither stream. Files: only what Python itself needs can be read, only the
working folder written (Landlock, Linux 5.13). Network, new processes, signals and the like: refused (seccomp).
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
from typing import Any

NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
NEW_USER, NEW_NETWORK, NEW_IPC = 0x10000000, 0x40000000, 0x08000000
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights over files each version of Landlock knows; later ones know as many as the last."""
EPERM, ENOSYS, THREAD = 1, 38, 0x10000

REFUSED = {
    "x86_64": {
        "arch": 0xC000003E,
        "clone": 56,
        "clone3": 435,
        "others": (
            *(41, 42, 57, 58, 59, 322),  # socket, connect, fork, vfork, execve, execveat
            *(62, 200, 234, 129, 297, 424, 434),  # kill, tkill, tgkill, *sigqueueinfo, pidfd_send_signal, pidfd_open
            *(101, 310, 311, 272, 308, 165, 425),  # ptrace, process_vm_*, unshare, setns, mount, io_uring_setup
            *(321, 298, 248, 249, 250, 323),  # bpf, perf_event_open, add_key, request_key, keyctl, userfaultfd
            *(29, 64, 68, 319, 160, 302),  # shmget, semget, msgget, memfd_create, setrlimit, prlimit64
            *(90, 91, 268, 452, 92, 93, 94, 260),  # chmod and chown in all their forms, which Landlock leaves alone
            *(132, 235, 261, 280, 188, 189, 190, 197, 198, 199),  # utime*, setxattr*, removexattr*
            *(161, 155, 166, 170, 141, 304),  # chroot, pivot_root, umount2, sethostname, setpriority, open_by_handle_at
        ),
    },
    "aarch64": {
        "arch": 0xC00000B7,
        "clone": 220,
        "clone3": 435,
        "others": (
            *(198, 203, 221, 281),
            *(129, 130, 131, 138, 240, 424, 434),
            *(117, 270, 271, 97, 268, 40, 425),
            *(280, 241, 217, 218, 219, 282),
            *(194, 190, 186, 279, 164, 261),
            *(52, 53, 452, 54, 55),
            *(88, 5, 6, 7, 14, 15, 16),
            *(51, 41, 39, 161, 140, 265),
        ),
    },
}
"""System calls that answer EPERM; clone works for threads alone, and clone3 seems not to exist."""


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


def confine(libc: Any) -> list[str]:
    """Gives up files, network and processes; the names of what the system let it give up."""
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return []
    done = []
    if libc.unshare(NEW_USER | NEW_NETWORK | NEW_IPC) == 0:
        done.append("namespaces")
    if restrict_files(libc):
        done.append("files")
    if filter_calls(libc):
        done += ["network", "processes"]
    return done


def restrict_files(libc: Any) -> bool:
    """Landlock: read what Python needs, write in the working folder."""
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
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


def filter_calls(libc: Any) -> bool:
    """A seccomp filter for this machine's system calls; False where it is not known or not allowed."""
    known: Any = REFUSED.get(platform.machine())
    if known is None:
        return False
    load, equal, at_least, test, give = 0x20, 0x15, 0x35, 0x45, 0x06
    refuse, allow, kill = 0x00050000 | EPERM, 0x7FFF0000, 0x80000000
    code = [(load, 0, 0, 4), (equal, 1, 0, known["arch"]), (give, 0, 0, kill), (load, 0, 0, 0)]
    code += [(at_least, 0, 1, 0x40000000), (give, 0, 0, refuse)]
    for number in known["others"]:
        code += [(equal, 0, 1, number), (give, 0, 0, refuse)]
    code += [(equal, 0, 1, known["clone3"]), (give, 0, 0, 0x00050000 | ENOSYS)]
    code += [(equal, 0, 3, known["clone"]), (load, 0, 0, 16), (test, 1, 0, THREAD), (give, 0, 0, refuse)]
    code += [(give, 0, 0, allow)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    header = struct.pack("HL", len(code), ctypes.addressof(program))
    return bool(libc.prctl(SET_SECCOMP, FILTER, header, 0, 0) == 0)


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    report, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    write, leave = os.write, os._exit
    limit(job)
    done = confine(ctypes.CDLL(None, use_errno=True)) if sys.platform == "linux" else []
    write(report, json.dumps({"confined": done}).encode() + b"\n")
    if not {"files", "network"} <= set(done):
        leave(0)
    answer = {"passed": job.pop("token")}
    try:
        exec(compile(job["program"], "<program>", "exec"), {"__name__": "__main__"})
    except BaseException as fault:
        answer = {"failed": f"{type(fault).__name__}: {str(fault)[:300]}"}
    write(report, json.dumps(answer).encode() + b"\n")
    leave(0)


if __name__ == "__main__":
    main()
