"""What a process of a node asks of Linux about itself, by prctl(2) and setrlimit(2).

Each is asked for by the process itself, after it was started: between fork and exec, where
`preexec_fn` would do it, another thread's locks are held for ever.

On another system than Linux nothing is asked, and the caller is told so.

Source: prctl(2), PR_SET_PDEATHSIG, PR_SET_DUMPABLE and PR_SET_NO_NEW_PRIVS;
include/uapi/linux/prctl.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def end_with_parent(parent_pid: int) -> bool:
    """Have this process killed when the thread that started it is gone, whatever ended that.

    It holds across exec, but not for what this process itself starts.

    Args:
        parent_pid: who started it. If that one is gone already, this process ends here.

    Returns:
        Whether the system can do it.
    """
    if not _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        return False
    if os.getppid() != parent_pid:  # it was gone before we asked
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def gain_nothing() -> bool:
    """Keep this process, and all that it starts, from gaining rights, and from leaving core dumps.

    Files that it makes are its owner's alone.

    Returns:
        Whether the system can do all of it.
    """
    os.umask(0o077)
    # A core dump would hold the data that the app was training on.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def bound_memory(size: int) -> bool:
    """Let this process, and each that it starts, map at most so much memory.

    More of it is MemoryError there, and not the end of another process that the system chooses.

    Args:
        size: bytes. A limit that is in force and lower stays.

    Returns:
        Whether the system can do it.
    """
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        least = size if hard == resource.RLIM_INFINITY else min(size, hard)
        resource.setrlimit(resource.RLIMIT_AS, (least, least))
    except (OSError, ValueError):
        return False
    return True


def memory_of_machine() -> int:
    """Return how many bytes of memory there are for this process: the machine's, or its group's.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, memory.max.
    """
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError, IndexError):
        # One line, "0::/path": the group of the second version.
        line = Path("/proc/self/cgroup").read_text().strip().splitlines()[-1]
        group = Path("/sys/fs/cgroup", line.partition("::")[2].lstrip("/"))
        size = min(size, int((group / "memory.max").read_text()))
    return size


def keep_memory_to_itself() -> bool:
    """Keep what this process knows out of core files, and from other processes of its user.

    Neither a debugger nor /proc shows its memory, its environment or what it has open to any but
    root. A program that it starts is held to the first alone, unless it raises its own limit.

    Returns:
        Whether the system can do all of it.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    return _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    # The kernel looks at all five, and wants zeros behind the second.
    zero = ctypes.c_ulong(0)
    done: int = library.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero)
    return done == 0
