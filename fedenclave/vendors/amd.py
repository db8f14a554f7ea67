"""What AMD's Key Distribution Service has for a SEV-SNP report: the VCEK, and revocation lists.

A VLEK is given to its cloud provider only; it comes with the evidence.

Source: AMD 57230, VCEK Certificate and KDS Interface Specification, chapter 4.
"""

from __future__ import annotations

from fedenclave.attestation.amd.kds import collateral_of
from fedenclave.attestation.amd.report import parse_report
from fedenclave.vendors import readable
from fedenclave.vendors.request import CollateralRequest, saved_as


def requests_for(report: bytes) -> list[CollateralRequest]:
    """Return what a verifier of `report` needs.

    Raises:
        MalformedMessage: it is no SEV-SNP report.
    """
    return [
        CollateralRequest(
            url=url,
            files=saved_as(name, readable.crl if url.endswith("/crl") else readable.certificates),
        )
        for name, url in collateral_of(parse_report(report)).items()
    ]
