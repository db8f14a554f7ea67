"""What a client's refusals are about: for its owner, who counts them and sets alarms on them.

Source: the error tree of protocol/errors.py; these are its finer branches on a client's side.
"""

from __future__ import annotations

from enum import StrEnum

from fedenclave.attestation.result import EvidenceRefused
from fedenclave.audit.receipt import ReceiptInvalid
from fedenclave.client.reported import UpdateUnusable
from fedenclave.protocol.errors import ConfigurationError, EnclaveRefused, MalformedMessage


class HistoryRefused(EnclaveRefused):
    """What is offered does not go on from what this client has seen: rolled back, or forked."""


class ManifestRefused(EnclaveRefused):
    """What is offered is under rules that this client's owner has not approved."""


class Cause(StrEnum):
    """What a refusal is about. Closed: it is a label of metrics and never carries a value."""

    APP = "app-not-approved"
    APP_FAILED = "app-failed"
    OWN_RESULT = "own-result"
    EVIDENCE = "evidence"
    HISTORY = "history"
    MANIFEST = "manifest"
    OFFER = "offer"
    MALFORMED = "malformed"
    RECEIPT = "receipt"
    CONFIGURATION = "configuration"
    DEFECT = "defect"


_CAUSES: tuple[tuple[type[Exception], Cause], ...] = (
    (UpdateUnusable, Cause.OWN_RESULT),
    (EvidenceRefused, Cause.EVIDENCE),
    (HistoryRefused, Cause.HISTORY),
    (ManifestRefused, Cause.MANIFEST),
    (ReceiptInvalid, Cause.RECEIPT),
    (EnclaveRefused, Cause.OFFER),
    (MalformedMessage, Cause.MALFORMED),
    (ConfigurationError, Cause.CONFIGURATION),
)


def cause_of(error: Exception) -> Cause:
    """Return what a refusal is about; an error of no kind of ours is a defect."""
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), Cause.DEFECT)
