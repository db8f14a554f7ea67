"""Vendors' revocation lists in a bundle: which of several versions counts at a given time.

It verifies nothing: `crl.check_revocation` does, of the list that is returned.

Source: RFC 5280, sections 5.1.2.4 and 5.1.2.5 (this update, next update) and 5.2.3 (CRL number).
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import (
    Collateral,
    CollateralFile,
    Dated,
    choose_signed,
    read_versions,
)
from fedenclave.attestation.crl import parse_crl
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage

Crl = x509.CertificateRevocationList


def read_crls(
    checklist: Checklist, name: str, files: Sequence[CollateralFile], trust: Trust
) -> list[Dated[Crl]]:
    """Return the lists in `files`, the versions of `name` in the bundle, each content once.

    Raises:
        EvidenceRefused: one of them cannot be read.
    """
    return read_versions(checklist, name, files, lambda file: dated_crl(file, "it"), trust)


def dated_crl(file: CollateralFile, what: str) -> Dated[Crl]:
    """Return the list in `file` with its dates; lists of one second are ordered by their number.

    Raises:
        MalformedMessage: it is no list, or promises no next one, and so would be good for ever.
    """
    crl = parse_crl(file.data, what)
    if crl.next_update_utc is None:
        raise MalformedMessage(f"{what} promises no next update, and vendors' lists do")
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        number = 0
    return Dated(
        file=file,
        content=crl,
        issued=int(crl.last_update_utc.timestamp()),
        next_update=int(crl.next_update_utc.timestamp()),
        rank=number,
    )


def need_crl(
    checklist: Checklist,
    collateral: Collateral,
    name: str,
    now: int,
    trust: Trust = Trust.INSTANCE_IDENTITY,
) -> Dated[Crl]:
    """Return the list `name` of the bundle that counts at `now` (Unix seconds).

    Raises:
        EvidenceRefused: there is none, or a version of it cannot be read.
    """
    files = collateral.need(name, checklist, trust)
    return choose_signed(read_crls(checklist, name, files, trust), now)
