"""Our errors as gRPC statuses, there and back.

gRPC's codes are too coarse to tell our errors apart; they are for proxies and dashboards. What the
other side raises again is decided by trailing metadata, named in `aggregator.proto`.

Everything that affects how an error travels lives in the tables of this file.

SPEC.md, section 15.2.
"""

from __future__ import annotations

from collections.abc import Mapping

from grpc import StatusCode

from fedenclave.host.enclave_process import EnclaveDied
from fedenclave.host.journal import StateUnwritten
from fedenclave.host.store import StoreFull
from fedenclave.protocol.errors import (
    ConfigurationError,
    FedEnclaveError,
    MalformedMessage,
    Refusal,
    RequestRefused,
)

ERROR_KEY = "fedenclave-error"
REFUSAL_KEY = "fedenclave-refusal"
# "-bin": gRPC carries the value as bytes, and a hint may hold any character.
HINT_KEY = "fedenclave-hint-bin"

MetadataPairs = tuple[tuple[str, str | bytes], ...]

_REFUSED = "refused"
_ERRORS: dict[str, tuple[type[FedEnclaveError], StatusCode]] = {
    # A proxy may send again what is UNAVAILABLE: nothing can be harmed here any more.
    "enclave-died": (EnclaveDied, StatusCode.UNAVAILABLE),
    "store-full": (StoreFull, StatusCode.RESOURCE_EXHAUSTED),
    "state-unwritten": (StateUnwritten, StatusCode.RESOURCE_EXHAUSTED),
    "configuration": (ConfigurationError, StatusCode.FAILED_PRECONDITION),
    "malformed": (MalformedMessage, StatusCode.INVALID_ARGUMENT),
}
_REFUSALS = {
    Refusal.MALFORMED: StatusCode.INVALID_ARGUMENT,
    Refusal.STORAGE: StatusCode.RESOURCE_EXHAUSTED,
    Refusal.INTERNAL: StatusCode.INTERNAL,
}
_OTHER_REFUSALS = StatusCode.FAILED_PRECONDITION


def status_of(error: FedEnclaveError) -> tuple[StatusCode, str, MetadataPairs] | None:
    """Return the code, the details and the trailing metadata that carry `error`.

    None where it is of a kind that does not travel.
    """
    hint = ((HINT_KEY, error.hint.encode()),) if error.hint else ()
    if isinstance(error, RequestRefused):
        code = _REFUSALS.get(error.refusal, _OTHER_REFUSALS)
        pairs = ((ERROR_KEY, _REFUSED), (REFUSAL_KEY, error.refusal.value))
        return code, error.message, (*pairs, *hint)
    for name, (kind, code) in _ERRORS.items():
        if isinstance(error, kind):
            return code, error.message, ((ERROR_KEY, name), *hint)
    return None


def error_of(details: str, metadata: Mapping[str, str | bytes]) -> FedEnclaveError | None:
    """Return the error that a gateway's status carries, to be raised again.

    None where the status is not of our gateway's making. A refusal that is not in the closed list
    becomes a `MalformedMessage`.
    """
    name = metadata.get(ERROR_KEY)
    raw_hint = metadata.get(HINT_KEY, b"")
    hint = raw_hint.decode(errors="replace") if isinstance(raw_hint, bytes) else raw_hint
    if name == _REFUSED:
        refusal = metadata.get(REFUSAL_KEY)
        if refusal not in tuple(Refusal):
            return MalformedMessage(
                "the gateway names a refusal that is not in the list",
                hint="do client and gateway run the same version?",
            )
        return RequestRefused(Refusal(refusal), hint=hint)
    if isinstance(name, str) and name in _ERRORS:
        kind, _ = _ERRORS[name]
        return kind(details, hint=hint)
    return None
