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

from fedenclave.enclave.attesters.attester import AttestationUnavailable
from fedenclave.enclave.attesters.choose import choose
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.federation import Federation
from fedenclave.enclave.hardening import Hardening
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.measured import read_measured_code
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
    LENGTH,
    MAX_FRAME,
    AbortRequest,
    AdoptRequest,
    CloseRequest,
    Empty,
    EvidenceRequest,
    ExportRequest,
    MergeRequest,
    OpenRequest,
    Operation,
    Reply,
    ReportRequest,
    Request,
    SignedStatement,
    SignedStatements,
    Started,
    StartRequest,
    StatusReply,
    TotalRequest,
)
from fedenclave.protocol.manifest import MAX_CLIENTS, Manifest
from fedenclave.protocol.records import Record
from fedenclave.protocol.statements import MAX_PEERS
from fedenclave.protocol.tensors import Schema

_MAX_DESCRIPTORS = 4 + MAX_PEERS - 1
"""Of a merge: two models, two states of the optimiser, and a partial sum from every peer."""

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
        self._connection = connection
        self._hardening = hardening
        # Taken now, so that what could not be had is known from the start; a rule over all updates
        # takes more once the manifest names it.
        self._memory = memory = SecretMemory()
        self._workers = Workers(memory)
        self._slots = KeySlots(memory, MAX_CLIENTS)
        hardening.note("secret-memory", memory.held, _NO_SECRET_MEMORY)
        self._state = State.NEW
        self._federation: Federation | None = None
        self._measurement = read_measured_code().measurement
        self._attester = choose(
            tee, measurement=self._measurement, protections=hardening.protections, kernel=Kernel()
        )
        # Once for nobody: better no enclave than one of which nobody can be convinced later.
        self._attester.evidence(bytes(REPORT_DATA_SIZE), Ed25519PrivateKey.generate())
        self._operations: dict[Operation, tuple[int, Callable[[bytes, list[int]], Record]]] = {
            Operation.START: (1, self._start),
            Operation.EVIDENCE: (0, self._evidence),
            Operation.OPEN: (0, self._open),
            Operation.ADMIT: (1, self._admit),
            Operation.CLOSE: (2, self._close),
            Operation.FETCH: (1, self._fetch),
            Operation.ABORT: (0, self._abort),
            Operation.REPORT: (0, self._report),
            Operation.TOTAL: (0, self._total),
            Operation.EXPORT: (1, self._export),
            Operation.MERGE: (2, self._merge),
            Operation.ADOPT: (1, self._adopt),
            Operation.STATUS: (0, self._status),
        }

    def run(self) -> None:
        """Serve. Returns when the host closes its end, or after a frame that cannot be framed."""
        while True:
            head, descriptors = self._receive_head()
            if not head:
                return
            (size,) = LENGTH.unpack(head)
            if size > MAX_FRAME:
                # What follows cannot be told from a new frame: the connection is over.
                self._send(Reply(refusal=Refusal.MALFORMED, body=b""))
                return
            reply = self._answer(self._receive(size), descriptors)
            self._send(reply)

    def _receive_head(self) -> tuple[bytes, list[int]]:
        data, descriptors, _, _ = socket.recv_fds(self._connection, LENGTH.size, _MAX_DESCRIPTORS)
        if data and len(data) < LENGTH.size:
            data += self._receive(LENGTH.size - len(data))
        return data, descriptors

    def _receive(self, size: int) -> bytes:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            got = self._connection.recv_into(view)
            if got == 0:
                raise EOFError
            view = view[got:]
        return bytes(buffer)

    def _send(self, reply: Reply) -> None:
        data = reply.to_bytes()
        self._connection.sendall(LENGTH.pack(len(data)) + data)

    def _answer(self, data: bytes, descriptors: list[int]) -> Reply:
        """Return the reply to one frame. Descriptors that no operation took over are closed."""
        unused = list(descriptors)
        try:
            request = Request.from_bytes(data)
            if request.operation not in tuple(Operation):
                raise RequestRefused(Refusal.MALFORMED)
            operation = Operation(request.operation)
            count, handler = self._operations[operation]
            state = after(self._state, operation)
            if operation in (Operation.CLOSE, Operation.MERGE):
                count += self._running().state_files
            if operation is Operation.MERGE:
                count += self._running().shards
            if len(descriptors) != count:
                raise RequestRefused(Refusal.MALFORMED)
            if operation is Operation.ADMIT:
                unused.clear()  # the round closes or keeps it
            body = handler(request.body, descriptors).to_bytes()
            self._state = state
            return Reply(refusal="", body=body)
        except RequestRefused as refused:
            if isinstance(refused, AttestationUnavailable):
                # What the machine's interfaces said. Nothing of a member's goes there or back.
                print(f"enclave: no evidence: {refused.why}", file=sys.stderr, flush=True)
            return Reply(refusal=refused.refusal, body=b"")
        except MalformedMessage:
            return Reply(refusal=Refusal.MALFORMED, body=b"")
        except ConfigurationError:
            return Reply(refusal=Refusal.MANIFEST, body=b"")
        except Exception as error:
            _report_internal(error)
            return Reply(refusal=Refusal.INTERNAL, body=b"")
        finally:
            for descriptor in unused:
                os.close(descriptor)

    def _running(self) -> Federation:
        if self._federation is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._federation

    def _start(self, body: bytes, descriptors: list[int]) -> Started:
        request = StartRequest.from_bytes(body)
        manifest = Manifest.from_bytes(request.manifest)
        federation = Federation(
            manifest=manifest,
            approvals=request.approvals,
            schema=Schema.from_bytes(request.schema),
            first_model=HostFile(descriptors[0], request.payload_offset),
            attester=self._attester,
            measurement=self._measurement,
            workers=self._workers,
            slots=self._slots,
            memory=self._memory,
            time=request.time,
        )
        self._federation = federation
        if not self._memory.held:
            # It was, until the rule asked for more of it.
            self._hardening.lose("secret-memory", _NO_SECRET_MEMORY)
        return Started(
            signing_key=federation.signing_key,
            start=federation.start,
            measurement=self._measurement,
            protections=tuple(self._hardening.protections),
            warnings=tuple(self._hardening.warnings),
        )

    def _evidence(self, body: bytes, _: list[int]) -> Record:
        return self._running().evidence(EvidenceRequest.from_bytes(body).nonce)

    def _open(self, body: bytes, _: list[int]) -> Record:
        request = OpenRequest.from_bytes(body)
        signed = self._running().open_round(request.cohort, request.training_config, request.time)
        return SignedStatement(statement=signed)

    def _admit(self, body: bytes, descriptors: list[int]) -> Record:
        file = HostFile(descriptors[0])
        try:
            Empty.from_bytes(body)
            federation = self._running()
        except Exception:
            file.close()
            raise
        return federation.admit(file)

    def _close(self, body: bytes, descriptors: list[int]) -> Record:
        request = CloseRequest.from_bytes(body)
        federation = self._running()
        base = HostFile(descriptors[0], request.base_offset)
        states = [HostFile(descriptor) for descriptor in descriptors[2:]]
        closed = federation.close_round(base, states, request.time)
        # The release has happened. Should the write fail, `fetch` writes the same bytes again.
        self._state = State.IDLE
        federation.write_model(HostFile(descriptors[1], request.model_offset))
        return closed

    def _fetch(self, body: bytes, descriptors: list[int]) -> Record:
        request = CloseRequest.from_bytes(body)
        federation = self._running()
        closed = federation.last_closed()
        federation.write_model(HostFile(descriptors[0], request.model_offset))
        return closed

    def _abort(self, body: bytes, _: list[int]) -> Record:
        request = AbortRequest.from_bytes(body)
        return SignedStatement(statement=self._running().abort_round(request.time))

    def _report(self, body: bytes, _: list[int]) -> Record:
        request = ReportRequest.from_bytes(body)
        signed = self._running().report(request.root, request.announcement, request.peers)
        return SignedStatement(statement=signed)

    def _total(self, body: bytes, _: list[int]) -> Record:
        request = TotalRequest.from_bytes(body)
        return SignedStatements(statements=self._running().total(request.shards, request.peers))

    def _export(self, body: bytes, descriptors: list[int]) -> Record:
        request = ExportRequest.from_bytes(body)
        return SignedStatement(
            statement=self._running().export(request.total, HostFile(descriptors[0]))
        )

    def _merge(self, body: bytes, descriptors: list[int]) -> Record:
        request = MergeRequest.from_bytes(body)
        federation = self._running()
        if len(request.partial_sums) != federation.shards:
            raise RequestRefused(Refusal.PEER_MESSAGE)
        files = [HostFile(descriptor) for descriptor in descriptors[2:]]
        states, sums = files[: federation.state_files], files[federation.state_files :]
        base = HostFile(descriptors[0], request.base_offset)
        partial_sums = list(zip(request.partial_sums, sums, strict=True))
        closed = federation.merge(partial_sums, base, states, request.time)
        self._state = State.IDLE  # as for a close
        federation.write_model(HostFile(descriptors[1], request.model_offset))
        return closed

    def _adopt(self, body: bytes, descriptors: list[int]) -> Record:
        request = AdoptRequest.from_bytes(body)
        model = HostFile(descriptors[0], request.model_offset)
        signed = self._running().adopt(request.release, model, request.time)
        return SignedStatement(statement=signed)

    def _status(self, body: bytes, _: list[int]) -> StatusReply:
        Empty.from_bytes(body)
        federation = self._federation
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
            resident = int(statm.read().split()[1]) * _PAGE
        return StatusReply(
            state=self._state,
            round=federation.round_number if federation else 0,
            admitted=federation.admitted if federation else 0,
            log_size=federation.log_size if federation else 0,
            resident_bytes=resident,
        )


def _report_internal(error: Exception) -> None:
    """Say where a bug of ours struck, without the text: it could carry what must not leave."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else "?"
    print(f"enclave: internal error: {type(error).__name__} at {place}", file=sys.stderr)
