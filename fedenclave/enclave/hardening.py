"""Take from this process what it does not need, before any key exists.

Each protection is tried, and what could not be had is said: a machine that cannot give one still
runs, and its evidence names only what holds. None of it stops the kernel, root with a debugger or
the operator: that is what a TEE is for (THREAT_MODEL.md).
"""

from __future__ import annotations

import ctypes
import os
import resource
from dataclasses import dataclass, field

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


@dataclass(slots=True)
class Hardening:
    """What holds, and a warning for each thing that does not."""

    protections: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def note(self, protection: str, held: bool, warning: str) -> None:
        """Record a protection, or why it is missing."""
        if held:
            self.protections.append(protection)
        else:
            self.warnings.append(warning)

    def lose(self, protection: str, warning: str) -> None:
        """Record that a protection no longer holds; where it was missing, it is said already."""
        if protection in self.protections:
            self.protections.remove(protection)
            self.warnings.append(warning)


def harden() -> Hardening:
    """Switch off core files, tracing by the same user, new privileges and the network.

    Must run before a second thread exists: a process with threads cannot enter a user namespace.
    """
    result = Hardening()
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    result.protections.append("no-core-files")
    # Entering a namespace resets the dumpable flag's owner, so the network goes first.
    result.note(
        "no-network",
        _leave_network(libc),
        "the machine allows no network namespace: the enclave process keeps the host's network",
    )
    result.note(
        "not-traceable-by-same-user",
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0,
        "the machine does not let the enclave process forbid tracing",
    )
    result.note(
        "no-new-privileges",
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0,
        "the machine does not let the enclave process give up new privileges",
    )
    _raise_file_limit()
    return result


def _leave_network(libc: ctypes.CDLL) -> bool:
    if os.geteuid() == 0 and libc.unshare(_CLONE_NEWNET) == 0:
        return True
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def _raise_file_limit() -> None:
    """Every admitted update keeps one descriptor until the round closes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
