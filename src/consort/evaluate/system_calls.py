"""The system calls that a graded program may make, as a filter for the kernel (seccomp BPF); all others are refused.

Allowed is what plain Python needs to compute, to work in its own folder, to wait and to run threads. What names a
process is allowed for the program's own number alone; sockets are pairs of connected streams, so nothing is addressed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NOWHERE = -1
"""In place of a number: this machine has no such call."""
NEWEST = 450
"""Calls from this number on seem not to exist: C libraries then take the older ones."""

FREE = {
    # name: (x86-64, aarch64)
    **{"read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67)},
    **{"pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70), "lseek": (8, 62), "close": (3, 57)},
    **{"close_range": (436, 436), "dup": (32, 23), "dup2": (33, NOWHERE), "dup3": (292, 24)},
    **{"sendfile": (40, 71), "copy_file_range": (326, 285), "fsync": (74, 82), "fdatasync": (75, 83)},
    **{"open": (2, NOWHERE), "openat": (257, 56), "creat": (85, NOWHERE), "truncate": (76, 45), "ftruncate": (77, 46)},
    **{"stat": (4, NOWHERE), "fstat": (5, 80), "lstat": (6, NOWHERE), "newfstatat": (262, 79), "statx": (332, 291)},
    **{"access": (21, NOWHERE), "faccessat": (269, 48), "faccessat2": (439, 439), "umask": (95, 166)},
    **{"readlink": (89, NOWHERE), "readlinkat": (267, 78), "getdents": (78, NOWHERE), "getdents64": (217, 61)},
    **{"mkdir": (83, NOWHERE), "mkdirat": (258, 34), "rmdir": (84, NOWHERE), "unlink": (87, NOWHERE)},
    **{"unlinkat": (263, 35), "symlink": (88, NOWHERE), "symlinkat": (266, 36), "rename": (82, NOWHERE)},
    **{"renameat": (264, 38), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50)},
    **{"pipe": (22, NOWHERE), "pipe2": (293, 59), "eventfd2": (290, 19), "poll": (7, NOWHERE), "ppoll": (271, 73)},
    **{"select": (23, NOWHERE), "pselect6": (270, 72), "epoll_create": (213, NOWHERE), "epoll_create1": (291, 20)},
    **{"epoll_ctl": (233, 21), "epoll_wait": (232, NOWHERE), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441)},
    **{"recvfrom": (45, 207), "shutdown": (48, 210), "getsockname": (51, 204), "getpeername": (52, 205)},
    **{"getsockopt": (55, 209), "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226)},
    **{"madvise": (28, 233), "msync": (26, 227), "brk": (12, 214), "futex": (202, 98), "futex_waitv": (449, 449)},
    **{"set_robust_list": (273, 99), "set_tid_address": (218, 96), "rseq": (334, 293), "sched_yield": (24, 124)},
    **{"exit": (60, 93), "exit_group": (231, 94), "restart_syscall": (219, 128), "rt_sigaction": (13, 134)},
    **{"rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136)},
    **{"rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "pause": (34, NOWHERE)},
    **{"alarm": (37, NOWHERE), "setitimer": (38, 103), "getitimer": (36, 102), "nanosleep": (35, 101)},
    **{"clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114)},
    **{"gettimeofday": (96, 169), "time": (201, NOWHERE), "times": (100, 153), "getrusage": (98, 165)},
    **{"getrlimit": (97, 163), "getrandom": (318, 278), "uname": (63, 160), "sysinfo": (99, 179), "getcpu": (309, 168)},
    **{"getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175)},
    **{"getgid": (104, 176), "getegid": (108, 177), "getresuid": (118, 148), "getresgid": (120, 150)},
    **{"getgroups": (115, 158)},
}
CLONE_THREAD, NAMESPACES = 0x10000, 0x7E020000
ANY = 0xFFFFFFFF
OWN = "own"
"""Stands for the program's own process number."""

Rule = tuple[int, int, tuple[int | str, ...]]
"""An argument's place, the bits that are looked at, and what they may be; of an argument all 64 bits must be 0 where
the place is negative (counted from -1)."""

BOUND: Mapping[str, tuple[tuple[int, int], tuple[Rule, ...]]] = {
    "clone": ((56, 220), ((0, CLONE_THREAD | NAMESPACES, (CLONE_THREAD,)),)),  # threads alone
    "fcntl": ((72, 25), ((1, ANY, (0, 1, 2, 3, 4, 1030)),)),  # copies and flags; no owner, lock, lease or notice
    "ioctl": ((16, 29), ((1, ANY, (0x5401, 0x5421, 0x541B, 0x5450, 0x5451)),)),  # TCGETS, FIONBIO, FIONREAD, FIO(N)CLEX
    "kill": ((62, 129), ((0, ANY, (OWN,)),)),
    "tgkill": ((234, 131), ((0, ANY, (OWN,)),)),
    "prctl": ((157, 167), ((0, ANY, (15, 16)),)),  # the name of a thread
    "prlimit64": ((302, 261), ((0, ANY, (0, OWN)), (-3, ANY, (0,)))),  # asked, not set
    "sched_getaffinity": ((204, 123), ((0, ANY, (0, OWN)),)),
    "socketpair": ((53, 199), ((0, ANY, (1,)), (1, 0xF, (1,)))),  # AF_UNIX, SOCK_STREAM: connected for good
    "sendto": ((44, 206), ((-5, ANY, (0,)),)),  # to no address
    "renameat2": ((316, 276), ((4, ANY, (0, 1, 2)),)),  # leaving no device behind (RENAME_WHITEOUT)
}
_READS_AND_CUTS = 0x203
"""O_TRUNC and how a file is opened, read (0), written or both."""
_CUTS_WHAT_IT_WRITES = (0, 1, 2, 3, 0x201, 0x202, 0x203)
OLDER: Mapping[str, tuple[tuple[int, int], tuple[Rule, ...]]] = {
    "open": ((2, NOWHERE), ((1, _READS_AND_CUTS, _CUTS_WHAT_IT_WRITES),)),
    "openat": ((257, 56), ((2, _READS_AND_CUTS, _CUTS_WHAT_IT_WRITES),)),
}
"""In place of `open`, `openat` and `truncate` where Landlock does not know of cutting files off (Linux before 6.2)."""
ABSENT = {"clone3": ((435, 435), 38), "listxattr": ((194, 11), 95), "llistxattr": ((195, 12), 95),
          "flistxattr": ((196, 13), 95), "getxattr": ((191, 8), 95)}  # fmt: skip
"""Calls that answer another error than "not permitted", so that what asked goes on without them."""

LOAD, EQUAL, AT_LEAST, AND, GIVE = 0x20, 0x15, 0x35, 0x54, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38
Line = tuple[int, int, int, int]


def filter_of(machine: str, process: int, *, older: bool = False) -> bytes:
    """The filter for a machine (`platform.machine()`) and the number of the process; b"" for an unknown machine.

    The `older` one is for Landlock before its third version: no file is cut off by its name or while it is read.
    """
    if machine not in ARCHITECTURES:
        return b""
    here = list(ARCHITECTURES).index(machine)
    code: list[Line] = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, ARCHITECTURES[machine]), (GIVE, 0, 0, KILL), (LOAD, 0, 0, 0)]
    code += [(AT_LEAST, 0, 1, 0x40000000), (GIVE, 0, 0, REFUSE | EPERM)]  # calls of the x32 kind
    for name, numbers in FREE.items():
        if not (older and name in (*OLDER, "truncate")):
            code += _when(numbers[here], [(GIVE, 0, 0, ALLOW)])
    for numbers, rules in [*BOUND.values(), *(OLDER.values() if older else ())]:
        code += _when(
            numbers[here], [line for rule in rules for line in _checked(rule, process)] + [(GIVE, 0, 0, ALLOW)]
        )
    for numbers, error in ABSENT.values():
        code += _when(numbers[here], [(GIVE, 0, 0, REFUSE | error)])
    code += [(AT_LEAST, 0, 1, NEWEST), (GIVE, 0, 0, REFUSE | ENOSYS), (GIVE, 0, 0, REFUSE | EPERM)]
    return b"".join(struct.pack("HBBI", *line) for line in code)


def _when(number: int, block: list[Line]) -> list[Line]:
    return [] if number == NOWHERE else [(EQUAL, 0, len(block), number), *block]


def _checked(rule: Rule, process: int) -> list[Line]:
    """Lines that refuse unless the argument is one of the values (little-endian halves of 64 bits)."""
    place, mask, values = rule
    if place < 0:
        low = 16 + 8 * (-place - 1)
        refused = (GIVE, 0, 0, REFUSE | EPERM)
        return [(LOAD, 0, 0, low), (EQUAL, 1, 0, 0), refused, (LOAD, 0, 0, low + 4), (EQUAL, 1, 0, 0), refused]
    wanted = [process if value == OWN else int(value) for value in values]
    lines: list[Line] = [(LOAD, 0, 0, 16 + 8 * place), (AND, 0, 0, mask)]
    lines += [(EQUAL, len(wanted) - i, 0, value) for i, value in enumerate(wanted)]
    return [*lines, (GIVE, 0, 0, REFUSE | EPERM)]
