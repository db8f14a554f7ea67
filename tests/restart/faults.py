"""Have this process die, as far as its disk and its enclave are concerned, at a point of its own.

Every system call by which the host changes its disk, and every frame to and from the enclave, is a
point. At the chosen one the call happens, or half of it (a write), or not at all; then `Killed` is
raised, the enclave gets SIGKILL, and whatever the host tries to write while the exception passes
through it fails, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fedenclave.host.enclave_process import EnclaveProcess

CALLS = ("pwrite", "write", "ftruncate", "fsync", "fdatasync", "replace", "rename", "unlink")
WRITES = ("pwrite", "write")


class Killed(BaseException):
    """The process is dead: nothing in it may catch this and go on."""


class Faults:
    """Counts points, and strikes at one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, strike: int = -1, how: str = "after"):
        """Strike at point number `strike`, "before" or "after" it, or "half" way through."""
        self.points: list[str] = []
        self.dead = self.paused = False
        self._strike, self._how = strike, how
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        for name in ("_send", "_receive"):
            monkeypatch.setattr(
                EnclaveProcess, name, self._wrapped(name, getattr(EnclaveProcess, name))
            )

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if self.paused:
                return real(*arguments, **keywords)
            if self.dead:
                raise Killed
            number = len(self.points)
            self.points.append(name)
            if number != self._strike:
                return real(*arguments, **keywords)
            self.dead = True
            if self._how == "after":
                real(*arguments, **keywords)
            elif self._how == "half" and name in WRITES:
                descriptor, data, *rest = arguments
                real(descriptor, bytes(data)[: len(data) // 2], *rest)
            raise Killed

        return call

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Strike at nothing, and count nothing: the test itself is at work."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False


def bury(aggregator: Any) -> None:
    """Leave of a host that was killed what the kernel leaves: its files, and no process."""
    with contextlib.suppress(ProcessLookupError):  # it was ending
        os.kill(aggregator.enclave_pid, signal.SIGKILL)
    aggregator._enclave._process.wait()
    aggregator._enclave._socket.close()
    aggregator._journal.close()
    aggregator._statements.close()
    aggregator._store._claim.close()
