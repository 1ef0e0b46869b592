"""Makes this interpreter as poor as Python is on Windows, then runs a program in it: `python like_windows.py CODE`.

What is missing there is hidden: modules, functions of `os` and `signal`, flags. Folders cannot be opened; an open file
is neither removed nor replaced, a folder with one is not moved, and nothing is renamed onto what exists. What Windows
does with paths (letters of drives, backslashes, reserved names) is not imitated.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from pathlib import Path

LOADED = (
    "subprocess",
    "tempfile",
    "multiprocessing.popen_spawn_posix",
    "concurrent.futures.process",
    "sqlite3",
    "typer",
)
LOADED += ("rich.console", "rich.live", "anyio._backends._asyncio", "httpx", "uvicorn", "starlette.applications")
LOADED += (
    "torch",
    "transformers.models.llama.modeling_llama",
    "safetensors.torch",
    "sklearn.linear_model",
    "scipy.optimize",
    "sacrebleu",
)
"""What others wrote and is made for this system; it is loaded before anything is hidden."""
MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
OS = (
    *(
        "fork",
        "forkpty",
        "wait",
        "wait3",
        "wait4",
        "killpg",
        "getpgid",
        "getuid",
        "geteuid",
        "getgid",
        "setsid",
        "uname",
    ),
    *("pread", "preadv", "pwrite", "pwritev", "pathconf", "fchmod", "chown", "mkfifo", "sysconf", "nice"),
    *("sched_getaffinity", "sched_setaffinity", "getloadavg", "posix_fallocate", "posix_fadvise"),
    *("O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_PATH", "O_SYNC", "O_NONBLOCK"),
)
SIGNALS = ("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGCHLD", "setitimer", "alarm", "pthread_kill")


def opened() -> list[Path]:
    """Files that this process has open for good; maps of files have no handle."""
    found = []
    for handle in os.listdir("/proc/self/fd"):
        try:
            found.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        except OSError:
            continue
    return found


def refuse_what_is_open(name: str, onto: bool) -> None:
    """Let a function of `os` fail for open files, and, where it names a second path, onto what exists."""
    real = getattr(os, name)

    def windows(path, *more, **named):
        here = Path(os.path.abspath(os.fspath(path)))
        if any(file == here or here in file.parents for file in opened()):
            raise PermissionError(13, "is open", str(path))
        if onto and os.path.exists(more[0]):
            raise FileExistsError(17, "exists", str(more[0]))
        if name == "replace" and (os.path.isdir(more[0]) or Path(os.path.abspath(more[0])) in opened()):
            raise PermissionError(13, "is a folder or open", str(more[0]))
        return real(path, *more, **named)

    setattr(os, name, windows)


def imitate() -> None:
    """From now on."""
    import asyncio.unix_events
    import shutil

    for name in LOADED:
        importlib.import_module(name)
    shutil._use_fd_functions = False
    for name in MODULES:
        sys.modules[name] = None
    for owner, names in ((os, OS), (signal, SIGNALS)):
        for name in names:
            if hasattr(owner, name):
                delattr(owner, name)
    sys.platform = "win32"
    socket.SO_EXCLUSIVEADDRUSE = socket.SO_REUSEADDR
    asyncio.ProactorEventLoop = asyncio.SelectorEventLoop
    real = os.open

    def opens(path, flags, *more, **named):
        if not isinstance(path, int) and os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *more, **named)

    os.open = opens
    for name, onto in (("rename", True), ("replace", False), ("unlink", False), ("remove", False)):
        refuse_what_is_open(name, onto)
    asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler


if __name__ == "__main__":
    imitate()
    code = sys.argv.pop(1)
    exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
