"""An aggregator behind a gateway, as if it were here.

What comes back is as trustworthy as the operator: whoever relies on it checks the statements in it
(`fedenclave.client`, `fedenclave.audit`). TLS keeps strangers from meddling with rounds; that
nobody reads an update rests on its sealing alone.

Rules:
  * Plain text only where the caller says `insecure=True`.
  * What the gateway's aggregator raises is raised here again, as the same type.
  * A connection that cannot be made or breaks is `AggregatorUnreachable`, and never a traceback.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self, TypeVar

import grpc

from fedenclave.host.aggregator_api import RoundResult
from fedenclave.host.endpoint import MAX_REPLY, PART_BYTES, split_address
from fedenclave.host.proto import aggregator_pb2 as pb
from fedenclave.host.proto import aggregator_pb2_grpc as pb_grpc
from fedenclave.host.round_ends import RoundEnd
from fedenclave.host.statuses import error_of
from fedenclave.protocol.digests import DIGEST_SIZE, Digest
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError, MalformedMessage
from fedenclave.protocol.frames import AdmissionResult, Closed, Started, StatusReply

T = TypeVar("T")

CONNECT_SECONDS = 10.0
_RETRY_SECONDS = 0.2

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REPLY),
    # A call lasts as long as the enclave computes, so it has no deadline; that the gateway is
    # still there is asked every 20 seconds.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
_GONE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)


class AggregatorUnreachable(FedEnclaveError):
    """Nobody answers at the aggregator's address, or the connection broke."""


class RemoteAggregator:
    """An `AggregatorApi` over gRPC.

    With patience it outlives a restart of the gateway. What may be asked twice is asked again: for
    an update that is admitted already, or a round that is closed, the enclave answers the same
    again. What opens a round is not, nor an evaluation, which would be said twice.
    """

    def __init__(
        self,
        address: str,
        *,
        root_certificate: bytes | None,
        insecure: bool,
        connect_seconds: float = CONNECT_SECONDS,
        patience_seconds: float = 0.0,
    ) -> None:
        """Connect, and fetch what does not change.

        Args:
            address: `host:port`.
            root_certificate: PEM that the gateway's certificate must lead to; None for the public
                authorities that gRPC brings along.
            insecure: talk without TLS.
            connect_seconds: how long to try.
            patience_seconds: how long to wait for a gateway that has answered before, and does not.

        Raises:
            AggregatorUnreachable: no gateway answers in time, or its certificate does not hold.
            ConfigurationError: the address or the certificate cannot be read, or both TLS and no
                TLS are asked for.
        """
        split_address(address)
        if insecure and root_certificate is not None:
            raise ConfigurationError(
                "a root certificate is named and plain text asked for", hint="remove one of them"
            )
        self._address, self._patience = address, patience_seconds
        if insecure:
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        else:
            if root_certificate is not None:
                _check_pem(root_certificate)
            credentials = grpc.ssl_channel_credentials(root_certificates=root_certificate)
            self._channel = grpc.secure_channel(address, credentials, options=_OPTIONS)
        self._stub = pb_grpc.AggregatorStub(self._channel)
        try:
            with self._raising():
                info = self._connect(connect_seconds)
            self._info = (
                info.manifest,
                tuple(info.approvals),
                Started.from_bytes(info.started),
            )
        except BaseException:
            self.close()
            raise

    def _connect(self, seconds: float) -> pb.GetInfoReply:
        """Ask until somebody answers. The gateway may still be starting."""
        end = time.monotonic() + seconds
        while True:
            left = max(end - time.monotonic(), 0.01)
            try:
                reply: pb.GetInfoReply = self._stub.GetInfo(pb.GetInfoRequest(), timeout=left)
                return reply
            except grpc.RpcError as error:
                again = error.code() is grpc.StatusCode.UNAVAILABLE and _carried(error) is None
                # A certificate that does not hold now will not hold in a second.
                again = again and not _about_certificate(error.details() or "")
                if not again or time.monotonic() + _RETRY_SECONDS >= end:
                    raise
                time.sleep(_RETRY_SECONDS)

    def _persistently(self, ask: Callable[[], T]) -> T:
        """Return what is answered, by a gateway that is started again meanwhile if need be."""
        end = 0.0
        while True:
            try:
                with self._raising():
                    return ask()
            except AggregatorUnreachable:
                end = end or time.monotonic() + self._patience
                if time.monotonic() >= end:
                    raise
            with self._raising():
                info = self._connect(end - time.monotonic())
            if Started.from_bytes(info.started).signing_key != self._info[2].signing_key:
                raise AggregatorUnreachable(
                    f"another enclave answers at {self._address} than before",
                    hint="its state was lost or it was started in another folder; begin a new run",
                )

    @contextmanager
    def _raising(self) -> Iterator[None]:
        """Raise our own error for what gRPC raises."""
        try:
            yield
        except grpc.RpcError as error:
            raise _carried(error) or self._foreign(error) from None

    def _foreign(self, error: grpc.RpcError) -> FedEnclaveError:
        """Return the error for a status that no gateway of ours made."""
        code, details = error.code(), (error.details() or "")[:300]
        if code in _GONE and _about_certificate(details):
            return AggregatorUnreachable(
                f"the certificate of who answers at {self._address} does not hold: {details}",
                hint="does the root certificate belong to it, is the address one of the names in "
                "it, and has it not expired?",
            )
        if code in _GONE:
            return AggregatorUnreachable(
                f"no aggregator answers at {self._address}: {details or code.value[1]}",
                hint="is it running, is the address right, does a firewall or a proxy (grpc_proxy, "
                "https_proxy) stand between? do both sides use TLS, or neither?",
            )
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return AggregatorUnreachable(
                f"what answers at {self._address} is not an aggregator of this version",
                hint="is the address right, and do both sides run the same version?",
            )
        return MalformedMessage(
            f"the gateway at {self._address} failed ({code.name.lower()}): {details}",
            hint="its operator finds the reason in its log",
        )

    def info(self) -> tuple[bytes, tuple[bytes, ...], Started]:
        """See `AggregatorApi`."""
        return self._info

    def evidence(self, nonce: bytes) -> bytes:
        """See `AggregatorApi`."""
        request = pb.GetEvidenceRequest(nonce=nonce)
        return bytes(self._persistently(lambda: self._stub.GetEvidence(request)).evidence)

    def open_round(self, cohort: Sequence[str], training_config: Digest) -> bytes:
        """See `AggregatorApi`."""
        with self._raising():
            request = pb.OpenRoundRequest(cohort=cohort, training_config=training_config)
            return bytes(self._stub.OpenRound(request).announcement)

    def submit(self, sealed: Iterable[bytes]) -> AdmissionResult:
        """See `AggregatorApi`. What can be read only once is not sent again."""
        if isinstance(sealed, Sequence):
            return self._persistently(lambda: self._upload(sealed))
        return self._upload(sealed)

    def _upload(self, sealed: Iterable[bytes]) -> AdmissionResult:
        upload = _Upload(sealed)
        try:
            with self._raising():
                reply = self._stub.SubmitUpdate(upload)
        except FedEnclaveError:
            if upload.error is not None:
                raise upload.error from None
            raise
        return AdmissionResult.from_bytes(reply.result)

    def close_round(self) -> RoundResult:
        """See `AggregatorApi`."""
        return self._persistently(self._close_round)

    def _close_round(self) -> RoundResult:
        closed: Closed | None = None
        parts: list[bytes] = []
        with self._raising():
            for reply in self._stub.CloseRound(pb.CloseRoundRequest()):
                first = closed is None
                if first != (reply.WhichOneof("content") == "closed"):
                    raise MalformedMessage("the gateway's answer does not begin with the release")
                if first:
                    closed = Closed.from_bytes(reply.closed)
                else:
                    parts.append(reply.model_part)
        if closed is None:
            raise MalformedMessage("the gateway's answer is empty")
        return RoundResult(closed=closed, model=b"".join(parts))

    def abort_round(self) -> bytes:
        """See `AggregatorApi`."""
        request = pb.AbortRoundRequest()
        return bytes(self._persistently(lambda: self._stub.AbortRound(request)).abort)

    def evaluated(self, digest: Digest) -> bytes:
        """See `AggregatorApi`."""
        with self._raising():
            return bytes(
                self._stub.LogEvaluation(pb.LogEvaluationRequest(digest=digest)).evaluation
            )

    def leaves(self, first: int) -> tuple[Digest, ...]:
        """See `AggregatorApi`."""
        request = pb.GetLeavesRequest(first=first)
        leaves = self._persistently(
            lambda: [leaf for some in self._stub.GetLeaves(request) for leaf in some.leaves]
        )
        if any(len(leaf) != DIGEST_SIZE for leaf in leaves):
            raise MalformedMessage(f"a leaf of the gateway's log has not {DIGEST_SIZE} bytes")
        return tuple(map(Digest, leaves))

    def log_part(self, first: int, end: int) -> bytes:
        """See `AggregatorApi`."""
        request = pb.GetLogRequest(first=first, end=end)
        return self._persistently(
            lambda: b"".join(part.data for part in self._stub.GetLog(request))
        )

    def checkpoint(self) -> bytes:
        """See `AggregatorApi`."""
        request = pb.GetCheckpointRequest()
        return bytes(self._persistently(lambda: self._stub.GetCheckpoint(request)).note)

    def releases(self) -> tuple[bytes, ...]:
        """See `AggregatorApi`."""
        request = pb.GetReleasesRequest()
        return self._persistently(
            lambda: tuple(
                signed for some in self._stub.GetReleases(request) for signed in some.releases
            )
        )

    def round_ends(self) -> tuple[RoundEnd, ...]:
        """See `AggregatorApi`."""
        request = pb.GetRoundEndsRequest()
        ends = self._persistently(lambda: list(self._stub.GetRoundEnds(request)))
        return tuple(
            RoundEnd(
                announcement=end.announcement,
                answers=tuple(end.answers),
                release=end.release,
                cohort=end.cohort,
                abort=end.abort,
            )
            for end in ends
        )

    def model(self) -> bytes:
        """See `AggregatorApi`."""
        request = pb.GetModelRequest()
        return self._persistently(
            lambda: b"".join(part.data for part in self._stub.GetModel(request))
        )

    def status(self) -> StatusReply:
        """See `AggregatorApi`."""
        reply = self._persistently(lambda: self._stub.GetStatus(pb.GetStatusRequest()))
        return StatusReply.from_bytes(reply.status)

    def close(self) -> None:
        """Close the connection; the aggregator and its round go on."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _check_pem(certificates: bytes) -> None:
    # gRPC would take anything, and say at the first call that it cannot make a handshaker.
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(
            cadata=certificates.decode("ascii")
        )
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            "the root certificate is not PEM", hint="want a file with BEGIN CERTIFICATE in it"
        ) from error


def _about_certificate(details: str) -> bool:
    """Say whether gRPC's text is about a certificate; its codes do not tell."""
    return "CERTIFICATE_VERIFY_FAILED" in details or "Hostname Verification" in details


def _carried(error: grpc.RpcError) -> FedEnclaveError | None:
    """Return the error of the aggregator's that this status carries."""
    metadata = {item.key: item.value for item in error.trailing_metadata() or ()}
    return error_of(error.details() or "", metadata)


class _Upload:
    """The messages of one upload. gRPC iterates over it in a thread of its own.

    Where the caller's iterable raises, the stream ends without its last part: the gateway drops
    it, and `error` says why. Were it raised, gRPC would print it and tell us nothing.
    """

    def __init__(self, sealed: Iterable[bytes]) -> None:
        self._messages = _messages(sealed)
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[pb.UpdatePart]:
        return self

    def __next__(self) -> pb.UpdatePart:
        try:
            return next(self._messages)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise StopIteration from None


def _messages(sealed: Iterable[bytes]) -> Iterator[pb.UpdatePart]:
    """Yield parts of at most PART_BYTES, the last one marked. Copies each part once."""
    held = b""
    for data in sealed:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PART_BYTES):
            if held:
                yield pb.UpdatePart(data=held, last=False)
            held = bytes(view[start : start + PART_BYTES])
    yield pb.UpdatePart(data=held, last=True)
