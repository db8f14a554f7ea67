"""Finding every process that came of a group's children, also those that ran away.

Flower's programs start others in sessions of their own (flower-superexec) which start others
again (flwr-clientapp); when one in the middle dies, neither the parent's id nor the process
group leads to the rest. What they all keep is the environment, so the group puts a random
marker there. The parent chain and the session find those few that cannot be read that way.

Not a container: a process that drops the marker, is not dumpable, opens its own session and
outlives its parent escapes.

Rules:
  * A process is known by id and start time, so that a reused id is never mistaken for it.
  * Zombies do not count: they have ended.

Source: Linux, proc(5): /proc/PID/stat and /proc/PID/environ. Linux only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, for good: its id and when it started, in clock ticks since boot."""

    pid: int
    start_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Status:
    identity: Identity
    parent: int
    session: int


def is_supported() -> bool:
    """Say whether this system lists its processes where we look for them."""
    return (PROC / "self" / "environ").exists()


def find_family(
    marker: str, *, sessions: Iterable[int], known: Iterable[Identity]
) -> set[Identity]:
    """Return the living processes of the family, without ourselves.

    Args:
        marker: `NAME=value` as it stands in the environment of the family.
        sessions: Sessions that the group opened for its children.
        known: What an earlier call returned: it and its children belong to the family whatever
            their environment says now.
    """
    running = {status.identity.pid: status for status in _running_processes()}
    family = {identity.pid for identity in known if _is_same(running, identity)}
    opened = set(sessions)
    needle = marker.encode()
    for pid, status in running.items():
        environment = _environment(pid)
        # Not ours to read, as with a process that made itself not dumpable: its session tells.
        unreadable_but_ours = environment is None and status.session in opened
        if unreadable_but_ours or (environment is not None and needle in environment):
            family.add(pid)
    _add_descendants(family, running)
    family.discard(os.getpid())
    return {running[pid].identity for pid in family}


def send_signal(processes: Iterable[Identity], number: signal.Signals) -> None:
    """Send a signal to those of `processes` that still run."""
    for process in processes:
        status = _status(process.pid)
        if status is None or status.identity != process:
            continue
        try:
            os.kill(process.pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _is_same(running: dict[int, _Status], identity: Identity) -> bool:
    status = running.get(identity.pid)
    return status is not None and status.identity == identity


def _add_descendants(family: set[int], running: dict[int, _Status]) -> None:
    grew = True
    while grew:
        children = {pid for pid, status in running.items() if status.parent in family}
        grew = not children <= family
        family |= children


def _running_processes() -> Iterable[_Status]:
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (status := _status(int(entry.name))) is not None:
            yield status


def _status(pid: int) -> _Status | None:
    """Read a process's status; None if it has ended."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return _Status(
        identity=Identity(pid, int(fields[19])), parent=int(fields[1]), session=int(fields[3])
    )


def _environment(pid: int) -> list[bytes] | None:
    """Read a process's environment; None if we may not, empty if it has ended."""
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except PermissionError:
        return None
    except OSError:
        return []
