"""Vendors' certificates in a bundle: which of several versions counts at a given time.

It verifies nothing: `certificates.verify_chain` does, of the chain that is returned.

Source: RFC 5280, section 4.1.2.5 (validity).
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from fedenclave.attestation.collateral import CollateralFile, Dated

Chain = tuple[x509.Certificate, ...]


def dated_chain(file: CollateralFile, chain: Sequence[x509.Certificate]) -> Dated[Chain]:
    """Return `chain`, which is in `file`, with the dates of its first certificate.

    Args:
        file: as it lies in the bundle.
        chain: at least one certificate, leaf first.
    """
    return Dated(
        file=file,
        content=tuple(chain),
        issued=int(chain[0].not_valid_before_utc.timestamp()),
        next_update=int(chain[0].not_valid_after_utc.timestamp()),
    )
