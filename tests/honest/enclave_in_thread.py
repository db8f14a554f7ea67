"""An enclave's service in a thread of this process: everything of it but the process.

Ten thousand rounds with thousands of restarts would spend their time on starting interpreters. What
is left out with the process: its hardening, and secret pages, which no process ever gives back.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any

import pytest

from fedenclave.enclave import service as service_module
from fedenclave.enclave.hardening import Hardening
from fedenclave.enclave.measured import read_measured_code
from fedenclave.enclave.sealing.sealer import Sealer
from fedenclave.enclave.secret_memory import SecretMemory
from fedenclave.enclave.service import Service
from fedenclave.host import aggregator_start as aggregator_module
from fedenclave.host.enclave_process import EnclaveProcess


class ServiceThread(threading.Thread):
    """Stands where the enclave's process would; ends when the host closes its end."""

    pid = -1

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(daemon=True)
        self._connection = connection
        self.start()

    def run(self) -> None:
        with self._connection:
            service = Service(self._connection, Hardening(), "insecure")
            with contextlib.suppress(EOFError, ConnectionError):
                service.run()
            if service._federation is not None and service._federation._round is not None:
                # The kernel would close a dead process's files.
                service._federation._round.destroy()

    def poll(self) -> int | None:
        return None if self.is_alive() else 0

    def wait(self, timeout: float | None = None) -> int:
        self.join(timeout)
        assert not self.is_alive(), "the enclave does not end"
        return 0


class ThreadedEnclave(EnclaveProcess):
    """What the host takes for its enclave process."""

    def _start(self, socket_number: int, *_: Any) -> Any:
        return ServiceThread(socket.socket(fileno=os.dup(socket_number)))


class OrdinaryMemory(SecretMemory):
    """Pages that are given back."""

    def _map(self, size: int) -> int | None:
        return None


def run_enclaves_in_threads(patch: pytest.MonkeyPatch, sealer: Sealer) -> None:
    """Have every enclave that this test starts be a thread, whose state `sealer` seals."""
    measured = read_measured_code()
    patch.setattr(aggregator_module, "EnclaveProcess", ThreadedEnclave)
    patch.setattr(service_module, "SecretMemory", OrdinaryMemory)
    patch.setattr(service_module, "read_measured_code", lambda: measured)
    patch.setattr(service_module, "choose_sealer", lambda *_, **__: sealer)
