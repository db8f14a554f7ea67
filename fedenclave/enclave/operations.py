"""What the host asks of a federation that is there: decode the request, do it, return the answer.

One function for each operation, with the number of descriptors that come beside it.

SPEC.md, section 12.3.
"""

from __future__ import annotations

from collections.abc import Callable

from fedenclave.enclave.federation import Federation
from fedenclave.enclave.host_file import HostFile
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.frames import (
    AbortRequest,
    AdoptRequest,
    CloseRequest,
    Empty,
    EvaluatedRequest,
    EvidenceRequest,
    ExportRequest,
    FetchRequest,
    MergeRequest,
    Note,
    OpenRequest,
    Operation,
    RepeatRequest,
    ReportRequest,
    ShutdownRequest,
    SignedStatement,
    SignedStatements,
    TotalRequest,
)
from fedenclave.protocol.records import Record


def _evidence(federation: Federation, body: bytes, _: list[int]) -> Record:
    return federation.evidence(EvidenceRequest.from_bytes(body).nonce)


def _open(federation: Federation, body: bytes, _: list[int]) -> Record:
    request = OpenRequest.from_bytes(body)
    signed = federation.open_round(request.cohort, request.training_config, request.time)
    return SignedStatement(statement=signed)


def _admit(federation: Federation, body: bytes, descriptors: list[int]) -> Record:
    file = HostFile(descriptors[0])
    try:
        Empty.from_bytes(body)
    except Exception:
        file.close()
        raise
    return federation.admit(file)


def _attach(federation: Federation, body: bytes, descriptors: list[int]) -> Record:
    file, attached = HostFile(descriptors[0]), False
    try:
        empty = Empty.from_bytes(body)
        federation.attach(file)
        attached = True
        return empty
    finally:
        if not attached:
            file.close()


def _close(federation: Federation, body: bytes, descriptors: list[int]) -> Record:
    request = CloseRequest.from_bytes(body)
    base = HostFile(descriptors[0], request.base_offset)
    states = [HostFile(descriptor) for descriptor in descriptors[1:]]
    # The host is told by `fetch`, after it has written the transition and that is settled.
    federation.close_round(base, states, request.time)
    return Empty()


def _repeat(federation: Federation, body: bytes, descriptors: list[int]) -> Record:
    request = RepeatRequest.from_bytes(body)
    base = HostFile(descriptors[0], request.base_offset)
    states = [HostFile(descriptor) for descriptor in descriptors[1:]]
    federation.repeat(base, states)
    return Empty()


def _fetch(federation: Federation, body: bytes, descriptors: list[int]) -> Record:
    request = FetchRequest.from_bytes(body)
    closed = federation.last_closed()
    federation.write_model(HostFile(descriptors[0], request.model_offset))
    return closed


def _abort(federation: Federation, body: bytes, _: list[int]) -> Record:
    request = AbortRequest.from_bytes(body)
    return SignedStatement(statement=federation.abort_round(request.time))


def _report(federation: Federation, body: bytes, _: list[int]) -> Record:
    request = ReportRequest.from_bytes(body)
    signed = federation.report(request.root, request.announcement, request.peers)
    return SignedStatement(statement=signed)


def _total(federation: Federation, body: bytes, _: list[int]) -> Record:
    request = TotalRequest.from_bytes(body)
    return SignedStatements(statements=federation.total(request.shards, request.peers))


def _export(federation: Federation, body: bytes, descriptors: list[int]) -> Record:
    request = ExportRequest.from_bytes(body)
    return SignedStatement(statement=federation.export(request.total, HostFile(descriptors[0])))


def _merge(federation: Federation, body: bytes, descriptors: list[int]) -> Record:
    request = MergeRequest.from_bytes(body)
    if len(request.partial_sums) != federation.shards:
        raise RequestRefused(Refusal.PEER_MESSAGE)
    files = [HostFile(descriptor) for descriptor in descriptors[1:]]
    states, sums = files[: federation.state_files], files[federation.state_files :]
    base = HostFile(descriptors[0], request.base_offset)
    partial_sums = list(zip(request.partial_sums, sums, strict=True))
    federation.merge(partial_sums, base, states, request.time)
    return Empty()


def _adopt(federation: Federation, body: bytes, descriptors: list[int]) -> Record:
    request = AdoptRequest.from_bytes(body)
    model = HostFile(descriptors[0], request.model_offset)
    signed = federation.adopt(request.release, model, request.time)
    return SignedStatement(statement=signed)


def _evaluated(federation: Federation, body: bytes, _: list[int]) -> Record:
    request = EvaluatedRequest.from_bytes(body)
    return SignedStatement(statement=federation.evaluated(request.digest, request.time))


def _shutdown(federation: Federation, body: bytes, _: list[int]) -> Record:
    request = ShutdownRequest.from_bytes(body)
    return SignedStatement(statement=federation.shut_down(request.time))


def _note(federation: Federation, body: bytes, _: list[int]) -> Record:
    Empty.from_bytes(body)
    return Note(note=federation.note())


OPERATIONS: dict[Operation, tuple[int, Callable[[Federation, bytes, list[int]], Record]]] = {
    Operation.EVIDENCE: (0, _evidence),
    Operation.OPEN: (0, _open),
    Operation.ADMIT: (1, _admit),
    Operation.ATTACH: (1, _attach),
    Operation.CLOSE: (1, _close),
    Operation.FETCH: (1, _fetch),
    Operation.REPEAT: (1, _repeat),
    Operation.ABORT: (0, _abort),
    Operation.REPORT: (0, _report),
    Operation.TOTAL: (0, _total),
    Operation.EXPORT: (1, _export),
    Operation.MERGE: (1, _merge),
    Operation.ADOPT: (1, _adopt),
    Operation.NOTE: (0, _note),
    Operation.EVALUATED: (0, _evaluated),
    Operation.SHUTDOWN: (0, _shutdown),
}
"""A close, a repeat and a merge bring more, which depends on the federation: see `Service`."""
