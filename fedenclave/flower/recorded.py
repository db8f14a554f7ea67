"""What the mod writes down for the node's owner: refusals, appraisals, updates, receipts.

A node without a client folder (development) keeps nothing: it has no owner who would look.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context

from fedenclave.audit.receipt import VerifiedReceipt
from fedenclave.client.events import Asked, EventFile, Kind
from fedenclave.client.refusals import Cause, cause_of
from fedenclave.client.session import AcceptedRound
from fedenclave.flower.node import FOLDER_KEY
from fedenclave.protocol.errors import FedEnclaveError


class Record:
    """The events of one message. None of this raises for a full or missing disk."""

    def __init__(self, context: Context) -> None:
        """Write into the folder that the node's own configuration names, if it names one."""
        folder = context.node_config.get(FOLDER_KEY)
        self._file = EventFile(Path(folder)) if isinstance(folder, str) and folder else None
        self.asked = Asked.UNKNOWN

    def asks(self, kind: str) -> None:
        """Note what the message asks for, by its own word."""
        if kind in set(Asked):
            self.asked = Asked(kind)

    def refused(self, refusal: FedEnclaveError) -> None:
        """Note a refusal with its reason, which stays on this node."""
        cause = cause_of(refusal)
        # Of the app's own result the text can name a number, which stays in node.log.
        text = "the app's own result cannot be sealed; node.log says why"
        self._refused(cause, text if cause is Cause.OWN_RESULT else refusal.message)

    def app_failed(self) -> None:
        """Note that the app raised or answered with an error; of its text nothing is kept."""
        self._refused(Cause.APP_FAILED, "the client app failed")

    def defect(self, error: Exception) -> None:
        """Note a defect of ours by its type: its text could carry anything."""
        self._refused(Cause.DEFECT, f"the confidential mod failed: {type(error).__name__}")

    def appraised(self, accepted: AcceptedRound) -> None:
        """Note the evidence that every check of a round has held for."""
        result = accepted.attestation
        self._write(
            Kind.APPRAISED,
            status=result.status,
            format=result.format,
            measurement=result.measurement,
            insecure=result.insecure,
            exceptions=len(result.excepted),
            round=accepted.announcement.round,
        )

    def sealed(self, accepted: AcceptedRound) -> None:
        """Note that an update was sealed for a round."""
        self._write(Kind.SEALED, round=accepted.announcement.round)

    def receipt(self, receipt: VerifiedReceipt) -> None:
        """Note a receipt that was verified and kept."""
        self._write(Kind.RECEIPT, verdict=receipt.verdict, round=receipt.round)

    def _refused(self, cause: Cause, text: str) -> None:
        self._write(Kind.REFUSED, cause=cause, asked=self.asked, text=text)

    def _write(self, kind: Kind, **facts: str | int | bool) -> None:
        if self._file is not None:
            self._file.write(kind, **facts)
