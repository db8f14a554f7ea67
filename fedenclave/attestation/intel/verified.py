"""A quote that was verified, with what it was verified against."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from fedenclave.attestation.certificates import fingerprints
from fedenclave.attestation.event_log import Event
from fedenclave.attestation.intel.collateral import Endorsements
from fedenclave.attestation.intel.pck import PckChain
from fedenclave.attestation.intel.quote import Quote
from fedenclave.attestation.intel.tcb_status import TcbStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedQuote:
    """A quote that Intel's hardware made, as far as Intel says. No policy was applied.

    `events` are those of an event log that leads to the quote's registers; None if none was given.
    """

    quote: Quote
    chain: PckChain
    endorsements: Endorsements
    tcb: TcbStatus
    root: x509.Certificate
    events: tuple[Event, ...] | None = None

    @property
    def evaluation_number(self) -> int:
        """The lower of the two `tcbEvaluationDataNumber`s that were used."""
        return min(
            self.endorsements.tcb_info.evaluation_number,
            self.endorsements.identity.evaluation_number,
        )

    @property
    def certificates(self) -> tuple[str, ...]:
        """Fingerprints of every certificate that was used, each once."""
        used = (self.chain.leaf, self.chain.intermediate, *self.endorsements.certificates)
        return fingerprints(*used, self.root)
