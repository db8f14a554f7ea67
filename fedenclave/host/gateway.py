"""The gateway: an aggregator behind gRPC, with health checking and reflection.

Relays and judges nothing. It authenticates no caller either: whoever reaches its port can open,
close and abort rounds, and can read no update.

Rules:
  * No import of this module reaches what opens an update.
  * An error of ours travels by its name (`statuses`); of any other only that it happened.
  * An upload that is not whole leaves nothing behind, and the enclave never hears of it.
  * Nobody else can listen on its port, and once the enclave has ended it is not healthy.

The service: `proto/aggregator.proto`.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fedenclave.host.aggregator import Aggregator
from fedenclave.host.endpoint import (
    LEAVES_AT_ONCE,
    MAX_REPLY,
    MAX_REQUEST,
    PART_BYTES,
    RELEASES_AT_ONCE,
    batches,
    parts_of,
    split_address,
)
from fedenclave.host.proto import aggregator_pb2 as pb
from fedenclave.host.proto import aggregator_pb2_grpc as pb_grpc
from fedenclave.host.statuses import status_of
from fedenclave.host.tls_files import TlsFiles as TlsFiles
from fedenclave.host.tls_files import server_credentials
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError, MalformedMessage

_log = logging.getLogger(__name__)

SERVICE = str(pb.DESCRIPTOR.services_by_name["Aggregator"].full_name)
# Uploads that run side by side. One thread each is spent on waiting for its sender.
_THREADS = 16
_STOP_SECONDS = 3.0

_OPTIONS = (
    # Without it a second gateway would share the port, and get half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_REQUEST),
    ("grpc.max_send_message_length", MAX_REPLY),
    # A sender whose machine vanished is noticed, and its half upload deleted.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Clients ask every 20 seconds whether we are still there, also while the enclave computes.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)


class Gateway:
    """A running gRPC server in front of an aggregator, which stays its caller's to close."""

    def __init__(
        self,
        aggregator: Aggregator,
        listen: str,
        *,
        tls: TlsFiles | None,
        insecure_plaintext: bool = False,
    ) -> None:
        """Bind and serve.

        Args:
            aggregator: a started one.
            listen: `host:port`; port 0 picks a free one, see `port`.
            tls: what to present; None only together with `insecure_plaintext`.
            insecure_plaintext: serve without TLS.

        Raises:
            ConfigurationError: the address cannot be listened on, or the TLS files cannot be used.
        """
        host, _ = split_address(listen)
        credentials = server_credentials(tls, insecure_plaintext=insecure_plaintext)
        self._health = health.HealthServicer()
        self._died, self._closing = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="gateway")
        self._server = grpc.server(self._pool, options=_OPTIONS)
        pb_grpc.add_AggregatorServicer_to_server(_Service(aggregator), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        try:
            self.port = _bind(self._server, listen, credentials)
        except ConfigurationError:
            self._pool.shutdown()
            raise
        self.address = f"{host}:{self.port}"
        self._set_health(health_pb2.HealthCheckResponse.SERVING)
        self._watch(aggregator.enclave_pid)
        self._server.start()

    @property
    def enclave_died(self) -> bool:
        """Whether the enclave's process has ended."""
        return self._died.is_set()

    def _set_health(self, status: int) -> None:
        for name in ("", SERVICE):
            self._health.set(name, status)

    def _watch(self, pid: int) -> None:
        """Have a thread wait for the enclave's end."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._enclave_ended()
            return

        def wait() -> None:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll()
            os.close(descriptor)
            self._enclave_ended()

        # A daemon: it ends with the enclave, whenever that is, and must not hold up our own end.
        threading.Thread(target=wait, name="gateway-watch", daemon=True).start()

    def _enclave_ended(self) -> None:
        self._died.set()
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        if not self._closing.is_set():
            _log.error("the enclave process has ended; no round can go on or be opened any more")

    def close(self) -> None:
        """Take no new calls, give running ones a moment, then end them."""
        self._closing.set()
        self._health.enter_graceful_shutdown()
        self._server.stop(_STOP_SECONDS).wait()
        self._pool.shutdown()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _bind(server: grpc.Server, listen: str, credentials: grpc.ServerCredentials | None) -> int:
    port = 0
    try:
        if credentials is None:
            port = int(server.add_insecure_port(listen))
        else:
            port = int(server.add_secure_port(listen, credentials))
    # Newer versions of gRPC raise, older ones return 0.
    except RuntimeError:
        pass
    if port == 0:
        raise ConfigurationError(
            f"cannot listen on {listen}: the port is taken, or it is no address of this machine",
            hint=f"see who has it: ss -ltnp 'sport = :{split_address(listen)[1]}'; or name another "
            "port",
        )
    return port


class _Interrupted(Exception):
    """The caller is gone; nobody is left to answer."""


class _Service(pb_grpc.AggregatorServicer):
    """Each call: decode, ask the aggregator, encode."""

    def __init__(self, aggregator: Aggregator) -> None:
        self._aggregator = aggregator

    def GetInfo(  # noqa: N802
        self, request: pb.GetInfoRequest, context: grpc.ServicerContext
    ) -> pb.GetInfoReply:
        with _answering("GetInfo", context):
            manifest, approvals, started = self._aggregator.info()
            return pb.GetInfoReply(
                manifest=manifest, approvals=approvals, started=started.to_bytes()
            )

    def GetEvidence(  # noqa: N802
        self, request: pb.GetEvidenceRequest, context: grpc.ServicerContext
    ) -> pb.GetEvidenceReply:
        with _answering("GetEvidence", context):
            return pb.GetEvidenceReply(evidence=self._aggregator.evidence(request.nonce))

    def OpenRound(  # noqa: N802
        self, request: pb.OpenRoundRequest, context: grpc.ServicerContext
    ) -> pb.OpenRoundReply:
        with _answering("OpenRound", context):
            announcement = self._aggregator.open_round(
                request.cohort, Digest(request.training_config)
            )
            _log.info("round opened for %d clients", len(request.cohort))
            return pb.OpenRoundReply(announcement=announcement)

    def SubmitUpdate(  # noqa: N802
        self, request_iterator: Iterator[pb.UpdatePart], context: grpc.ServicerContext
    ) -> pb.SubmitUpdateReply:
        with _answering("SubmitUpdate", context):
            result = self._aggregator.submit(_whole_upload(request_iterator, context))
            _log.info("update %s", "admitted" if result.admitted else f"rejected: {result.reason}")
            return pb.SubmitUpdateReply(result=result.to_bytes())

    def CloseRound(  # noqa: N802
        self, request: pb.CloseRoundRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.CloseRoundReply]:
        with _answering("CloseRound", context):
            result = self._aggregator.close_round()
            _log.info(
                "round released, %d updates set aside, model of %d bytes",
                len(result.closed.set_aside),
                len(result.model),
            )
            yield pb.CloseRoundReply(closed=result.closed.to_bytes())
            for part in parts_of(result.model):
                yield pb.CloseRoundReply(model_part=part)

    def AbortRound(  # noqa: N802
        self, request: pb.AbortRoundRequest, context: grpc.ServicerContext
    ) -> pb.AbortRoundReply:
        with _answering("AbortRound", context):
            abort = self._aggregator.abort_round()
            _log.info("round aborted")
            return pb.AbortRoundReply(abort=abort)

    def LogEvaluation(  # noqa: N802
        self, request: pb.LogEvaluationRequest, context: grpc.ServicerContext
    ) -> pb.LogEvaluationReply:
        with _answering("LogEvaluation", context):
            return pb.LogEvaluationReply(
                evaluation=self._aggregator.evaluated(Digest(request.digest))
            )

    def GetLeaves(  # noqa: N802
        self, request: pb.GetLeavesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GetLeavesReply]:
        with _answering("GetLeaves", context):
            leaves = self._aggregator.leaves(request.first)
            for some in batches(leaves, LEAVES_AT_ONCE):
                yield pb.GetLeavesReply(leaves=some)

    def GetLog(  # noqa: N802
        self, request: pb.GetLogRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.LogPart]:
        with _answering("GetLog", context):
            for part in parts_of(self._aggregator.log_part(request.first, request.end)):
                yield pb.LogPart(data=part)

    def GetCheckpoint(  # noqa: N802
        self, request: pb.GetCheckpointRequest, context: grpc.ServicerContext
    ) -> pb.GetCheckpointReply:
        with _answering("GetCheckpoint", context):
            return pb.GetCheckpointReply(note=self._aggregator.checkpoint())

    def GetReleases(  # noqa: N802
        self, request: pb.GetReleasesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.GetReleasesReply]:
        with _answering("GetReleases", context):
            for some in batches(self._aggregator.releases(), RELEASES_AT_ONCE):
                yield pb.GetReleasesReply(releases=some)

    def GetRoundEnds(  # noqa: N802
        self, request: pb.GetRoundEndsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.RoundEnd]:
        with _answering("GetRoundEnds", context):
            for end in self._aggregator.round_ends():
                yield pb.RoundEnd(**asdict(end))

    def GetModel(  # noqa: N802
        self, request: pb.GetModelRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ModelPart]:
        with _answering("GetModel", context):
            for part in parts_of(self._aggregator.model()):
                yield pb.ModelPart(data=part)

    def GetStatus(  # noqa: N802
        self, request: pb.GetStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetStatusReply:
        with _answering("GetStatus", context):
            return pb.GetStatusReply(status=self._aggregator.status().to_bytes())


def _whole_upload(parts: Iterator[pb.UpdatePart], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Yield the parts of an upload that comes to its end.

    Raises:
        MalformedMessage: it ends before, goes on after, or has too long a part.
        _Interrupted: its sender is gone.
    """
    ended = False
    try:
        for part in parts:
            if ended:
                raise MalformedMessage("upload goes on after its last part")
            if len(part.data) > PART_BYTES:
                raise MalformedMessage(
                    f"upload has a part of {len(part.data)} bytes, want at most {PART_BYTES}"
                )
            ended = part.last
            yield part.data
    except grpc.RpcError as error:
        raise _Interrupted from error
    # A stream that broke off may look like one that ended.
    if not context.is_active():
        raise _Interrupted
    if not ended:
        raise MalformedMessage("upload ended before its last part", hint="send it again")


@contextmanager
def _answering(call: str, context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with a status where the block raises."""
    abort: Callable[..., object] = context.abort
    try:
        yield
    except _Interrupted:
        _log.info("%s interrupted by its caller", call)
        abort(grpc.StatusCode.CANCELLED, "interrupted")
    except FedEnclaveError as error:
        status = status_of(error)
        if status is None:
            _log.exception("%s failed", call)
            abort(grpc.StatusCode.INTERNAL, "internal error; the gateway's log says where")
            return
        code, details, metadata = status
        _log.warning("%s: %s", call, error.message)
        context.set_trailing_metadata(metadata)
        abort(code, details)
    # Whatever else: its text is for the operator's log and not for a caller.
    except Exception:
        _log.exception("%s failed", call)
        abort(grpc.StatusCode.INTERNAL, "internal error; the gateway's log says where")
