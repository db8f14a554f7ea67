"""What the host asks of its enclave between two rounds.

A signed checkpoint, to log an evaluation, and to end.

Rules:
  * No checkpoint, and no last word, is worth a round or an end that does not come: what cannot be
    had is left out.

SPEC.md, section 12.3.
"""

from __future__ import annotations

import contextlib
import threading
import time

from fedenclave.host.checkpoint_file import CheckpointFile
from fedenclave.host.enclave_process import EnclaveProcess
from fedenclave.host.statement_log import StatementLog
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import FedEnclaveError, RequestRefused
from fedenclave.protocol.frames import (
    Empty,
    EvaluatedRequest,
    Note,
    Operation,
    ShutdownRequest,
    SignedStatement,
)
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Shutdown

_SHUTDOWN_SECONDS = 3.0
"""Of a TPM that settles it; a machine that is switched off gives its services ten or more."""


class BetweenRounds:
    """The enclave's words between two rounds, and where they go."""

    def __init__(
        self,
        enclave: EnclaveProcess,
        statements: StatementLog,
        checkpoint: CheckpointFile,
        lock: threading.RLock,
    ) -> None:
        """Use the aggregator's; it holds `lock` while it asks for what changes a round.

        `checkpoint` is where the newest signed checkpoint goes.
        """
        self._enclave, self._statements, self._lock = enclave, statements, lock
        self._checkpoint = checkpoint

    def renew_checkpoint(self) -> None:
        """Have the log's newest checkpoint signed, where no round is open."""
        with contextlib.suppress(RequestRefused):
            self._checkpoint.renew(self._enclave.request(Operation.NOTE, Empty(), Note).note)

    def renew_after_start(self) -> None:
        """Have it signed, if there is more behind the last one than that the enclave was ended.

        Of a shutdown members' copies have nothing before the next round: they could not cosign it.
        """
        shutdowns = 0
        for signed in self._statements.backwards():
            if Signed.from_bytes(signed).type != Shutdown.TYPE:
                break
            shutdowns += 1
        if not shutdowns or self._checkpoint.size != len(self._statements.leaves) - shutdowns:
            self.renew_checkpoint()

    def hear(self) -> None:
        """Have what the enclave has said, and its hardware has kept it from telling so far.

        Raises:
            RequestRefused: it still does. Nothing else can be done before.
        """
        untold = self._enclave.untold
        if untold in (Operation.EVALUATED, Operation.SHUTDOWN):
            said = self._enclave.request(untold, Empty(), SignedStatement).statement
            self._statements.append(said)

    def evaluated(self, digest: Digest) -> bytes:
        """Have the digest of an evaluation of the newest model logged; return the statement.

        Raises:
            RequestRefused: a round is open, there was none, or its model is not written yet.
            EnclaveDied: the enclave has ended.
        """
        request = EvaluatedRequest(digest=digest, time=int(time.time()))
        with self._lock:
            self.hear()
            said = self._enclave.request(Operation.EVALUATED, request, SignedStatement).statement
            self._statements.append(said)
            self.renew_checkpoint()
        return said

    def shut_down(self) -> None:
        """Have the log say that the enclave ends on purpose, where it can: it ends in any case."""
        if not self._lock.acquire(timeout=_SHUTDOWN_SECONDS):
            return  # a pass is running
        try:
            # A closed file or socket is a second closing, or one after a start that failed.
            with contextlib.suppress(FedEnclaveError, OSError):
                self._enclave.hurry(_SHUTDOWN_SECONDS)
                request = ShutdownRequest(time=int(time.time()))
                said = self._enclave.request(Operation.SHUTDOWN, request, SignedStatement)
                self._statements.append(said.statement)
        finally:
            self._lock.release()
