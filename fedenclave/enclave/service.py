"""The enclave's one socket: frames in, frames out, one request at a time.

Whatever bytes come in, the answer is a result or one of the closed refusals, and after a refusal
the state is as before, but for what section 12.4 says of `close`. The text of an exception never
leaves the process (T13).

SPEC.md, section 12.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.agreed import Agreed, Lent, agreed
from fedenclave.enclave.amendment import amended
from fedenclave.enclave.attesters.attester import AttestationUnavailable
from fedenclave.enclave.attesters.choose import choose
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.federation import Federation
from fedenclave.enclave.frame_socket import FrameSocket
from fedenclave.enclave.hardening import Hardening
from fedenclave.enclave.host_file import HostFile, close_quietly
from fedenclave.enclave.journal import MAX_SEGMENT
from fedenclave.enclave.measured import read_measured_code
from fedenclave.enclave.operations import OPERATIONS
from fedenclave.enclave.sealing.choose import choose_sealer, shortcomings
from fedenclave.enclave.sealing.released_key import ReleasedKeys
from fedenclave.enclave.sealing.sealer import SealingFailed
from fedenclave.enclave.secret_memory import KeySlots, SecretMemory
from fedenclave.enclave.states import State, after
from fedenclave.enclave.workers import Workers
from fedenclave.protocol.errors import (
    ConfigurationError,
    MalformedMessage,
    Refusal,
    RequestRefused,
)
from fedenclave.protocol.evidence import REPORT_DATA_SIZE
from fedenclave.protocol.frames import (
    AmendRequest,
    Asked,
    AskRequest,
    Empty,
    Operation,
    Reply,
    Request,
    Resumed,
    ResumeRequest,
    SignedStatement,
    Started,
    StartRequest,
    StatusReply,
    UnlockRequest,
)
from fedenclave.protocol.manifest import MAX_CLIENTS, Manifest
from fedenclave.protocol.records import Record
from fedenclave.protocol.statements import MAX_PEERS
from fedenclave.protocol.tensors import Schema

_MAX_DESCRIPTORS = 3 + MAX_PEERS - 1
"""Of a merge: a model, two states of the optimiser, and a partial sum from every peer."""

_SETTLING = tuple(
    operation
    for operation in Operation
    if operation not in (Operation.EVIDENCE, Operation.STATUS, Operation.ADMIT, Operation.ATTACH)
)
"""What waits for the hardware's anchor. Updates are taken without: nobody has seen a release of a
round that only began."""

_HELD = (
    *(Operation.OPEN, Operation.ABORT, Operation.ADOPT, Operation.REPORT, Operation.TOTAL),
    *(Operation.EVALUATED, Operation.SHUTDOWN, Operation.AMEND),
)
"""What is told only once the anchor has settled it, as a release is, which `close` does not tell:
wound back before that, the round could end otherwise."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_NO_SECRET_MEMORY = (
    "secret memory is refused here, or there is too little of it (RLIMIT_MEMLOCK below 8 MiB, or "
    "48 for rules over all updates at once; or the kernel): keys or plaintext lie on ordinary "
    "pages, readable by root"
)


class Service:
    """Answers requests until the host closes the socket."""

    def __init__(self, connection: socket.socket, hardening: Hardening, tee: str) -> None:
        """Measure the code that runs here and prove the attester, before any request is read.

        Raises:
            AttestationUnavailable: `tee` is no choice, or gives no evidence on this machine.
        """
        self._frames = FrameSocket(connection)
        self._hardening = hardening
        # Taken now, so that what could not be had is known from the start; a rule over all updates
        # takes more once the manifest names it.
        self._memory = memory = SecretMemory()
        self._workers = Workers(memory)
        self._slots = KeySlots(memory, MAX_CLIENTS)
        hardening.note("secret-memory", memory.held, _NO_SECRET_MEMORY)
        self._state = State.NEW
        self._held: Record | None = None
        self._federation: Federation | None = None
        self._measurement = read_measured_code().measurement
        self._attester = choose(
            tee, measurement=self._measurement, protections=hardening.protections, kernel=Kernel()
        )
        self._sealer = choose_sealer(self._attester, measurement=self._measurement, kernel=Kernel())
        self._machine_sealer = self._sealer
        self._released = ReleasedKeys(self._attester, self._sealer)
        self._lent = Lent(
            attester=self._attester, workers=self._workers, slots=self._slots, memory=memory
        )
        # Once for nobody: better no enclave than one of which nobody can be convinced later.
        self._attester.evidence(bytes(REPORT_DATA_SIZE), Ed25519PrivateKey.generate())
        self._own: dict[Operation, tuple[int, Callable[[bytes, list[int]], Record]]] = {
            Operation.ASK: (0, self._ask),
            Operation.UNLOCK: (0, self._unlock),
            Operation.START: (1, self._start),
            Operation.RESUME: (2, self._resume),
            Operation.AMEND: (0, self._amend),
            Operation.TELL: (0, self._tell),
            Operation.STATUS: (0, self._status),
        }

    def run(self) -> None:
        """Serve. Returns when the host closes its end, or after a frame that cannot be framed."""
        while True:
            try:
                received = self._frames.receive(_MAX_DESCRIPTORS)
            except MalformedMessage:
                self._frames.send(self._reply(Refusal.MALFORMED).to_bytes())
                return
            if received is None:
                return
            self._frames.send(self._answer(*received).to_bytes())

    def _answer(self, data: bytes, descriptors: list[int]) -> Reply:
        """Return the reply to one frame. Descriptors that no operation took over are closed."""
        unused = list(descriptors)
        try:
            request = Request.from_bytes(data)
            if request.operation not in tuple(Operation):
                raise RequestRefused(Refusal.MALFORMED)
            operation = Operation(request.operation)
            count, handler = self._handler(operation)
            state = after(self._state, operation)
            if operation in (Operation.CLOSE, Operation.MERGE, Operation.REPEAT):
                count += self._running().state_files
            if operation is Operation.MERGE:
                count += self._running().shards
            if len(descriptors) != count:
                raise RequestRefused(Refusal.MALFORMED)
            if operation in _SETTLING and self._federation is not None:
                self._federation.settle()
            if operation in (Operation.ADMIT, Operation.ATTACH):
                unused.clear()  # the round closes or keeps it
            answer = handler(request.body, descriptors)
            self._state = state if operation is not Operation.RESUME else self._running().state
            if operation in _HELD and self._running().to_settle:
                self._held = answer
                return self._reply("", held=True)
            return self._reply("", answer.to_bytes())
        except RequestRefused as refused:
            if isinstance(refused, AttestationUnavailable):
                # What the machine's interfaces said. Nothing of a member's goes there or back.
                print(f"enclave: no evidence: {refused.why}", file=sys.stderr, flush=True)
            if isinstance(refused, SealingFailed):
                print(f"enclave: no sealing: {refused.why}", file=sys.stderr, flush=True)
            return self._reply(refused.refusal)
        except MalformedMessage:
            return self._reply(Refusal.MALFORMED)
        except ConfigurationError:
            return self._reply(Refusal.MANIFEST)
        except Exception as error:
            _report_internal(error)
            return self._reply(Refusal.INTERNAL)
        finally:
            for descriptor in unused:
                close_quietly(descriptor)

    def _handler(self, operation: Operation) -> tuple[int, Callable[[bytes, list[int]], Record]]:
        """Return how many descriptors come with an operation, and what does it."""
        if operation in self._own:
            return self._own[operation]
        count, do = OPERATIONS[operation]
        return count, lambda body, descriptors: do(self._running(), body, descriptors)

    def _reply(self, refusal: str, body: bytes = b"", *, held: bool = False) -> Reply:
        transition = self._federation.transition() if self._federation is not None else b""
        return Reply(refusal=refusal, body=body, transition=transition, held=held)

    def _running(self) -> Federation:
        if self._federation is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._federation

    def _ask(self, body: bytes, _: list[int]) -> Record:
        request = AskRequest.from_bytes(body)
        manifest = Manifest.from_bytes(request.manifest)
        return Asked(request=self._released.ask(manifest, request.challenges))

    def _unlock(self, body: bytes, _: list[int]) -> Record:
        self._sealer = self._released.unlock(UnlockRequest.from_bytes(body).answers)
        return Empty()

    def _start(self, body: bytes, descriptors: list[int]) -> Started:
        request = StartRequest.from_bytes(body)
        federation = Federation.start(
            agreed=self._agreed(request),
            lent=self._lent,
            first_model=HostFile(descriptors[0], request.payload_offset),
            measurement=self._measurement,
            time=request.time,
            sealer=self._sealer,
        )
        return self._started(federation)

    def _resume(self, body: bytes, descriptors: list[int]) -> Resumed:
        request = ResumeRequest.from_bytes(body)
        segment = HostFile(descriptors[1])
        # Refused, not cut: what lies behind would be wound back.
        if (size := segment.size()) > MAX_SEGMENT:
            raise RequestRefused(Refusal.STATE)
        federation, remembered = Federation.resume(
            agreed=self._agreed(request),
            lent=self._lent,
            base_model=HostFile(descriptors[0], request.payload_offset),
            segment=segment.read(size, 0),
            sealer=self._sealer,
        )
        # Only what the host lacks: a round's rejections could be more than a frame holds.
        before = remembered.snapshot.log_size
        signed = [signed for each in remembered.transitions for signed in each.statements]
        lacking = signed[max(request.log_size - before, 0) :]
        return Resumed(
            started=self._started(federation),
            size=remembered.size,
            first_leaf=before + len(signed) - len(lacking),
            statements=tuple(lacking),
            log=federation.log,
            awaits=federation.awaits(),
            closed=federation.closed_before,
        )

    def _agreed(self, request: StartRequest | ResumeRequest) -> Agreed:
        manifest = Manifest.from_bytes(request.manifest)
        self._released.check(manifest)
        return agreed(manifest, request.approvals, Schema.from_bytes(request.schema))

    def _started(self, federation: Federation) -> Started:
        self._federation = federation
        self._look_at_memory()
        return Started(
            signing_key=federation.signing_key,
            start=federation.start_signed,
            measurement=self._measurement,
            protections=tuple(self._hardening.protections),
            warnings=(*self._hardening.warnings, *shortcomings(self._sealer)),
            sealing=self._sealer.name if self._sealer is not None else "",
        )

    def _amend(self, body: bytes, _: list[int]) -> Record:
        request, federation = AmendRequest.from_bytes(body), self._running()
        manifest = Manifest.from_bytes(request.manifest)
        sealer = self._machine_sealer
        if manifest.key_services:
            self._released.check(manifest)
            sealer = self._sealer
        if sealer is None and self._sealer is not None:
            raise RequestRefused(Refusal.STATE, hint="what is sealed must not end unsealed")
        self._federation, signed = amended(
            federation,
            agreed(manifest, request.approvals, federation.schema),
            request.approvals,
            sealer,
            request.time,
        )
        self._sealer = sealer
        self._look_at_memory()
        return SignedStatement(statement=signed)

    def _look_at_memory(self) -> None:
        if not self._memory.held:
            # It was, until a rule asked for more of it.
            self._hardening.lose("secret-memory", _NO_SECRET_MEMORY)

    def _tell(self, body: bytes, _: list[int]) -> Record:
        Empty.from_bytes(body)
        if self._held is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._held

    def _status(self, body: bytes, _: list[int]) -> StatusReply:
        Empty.from_bytes(body)
        federation = self._federation
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
            resident = int(statm.read().split()[1]) * _PAGE
        return StatusReply(
            state=self._state,
            round=federation.round_number if federation else 0,
            admitted=federation.admitted if federation else 0,
            log_size=federation.log.size if federation else 0,
            resident_bytes=resident,
        )


def _report_internal(error: Exception) -> None:
    """Say where a bug of ours struck, without the text: it could carry what must not leave."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else "?"
    print(f"enclave: internal error: {type(error).__name__} at {place}", file=sys.stderr)
