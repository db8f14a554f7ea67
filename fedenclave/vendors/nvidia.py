"""What NVIDIA publishes about a GPU: reference manifests, revocation lists, OCSP answers.

An OCSP answer is asked for each certificate of the device's chain but the leaf, which no responder
knows; and, once the manifests are there, for each certificate of their signers. Revocation lists
are asked for where certificates say that they are.

Source: NVIDIA RIM service, version 1; RFC 6960, appendix A.1 (OCSP over HTTP).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from fedenclave.attestation.certificates import parse_certificate
from fedenclave.attestation.nvidia.device import parse_device
from fedenclave.attestation.nvidia.golden import manifest_names
from fedenclave.attestation.nvidia.gpu import pinned_roots
from fedenclave.attestation.nvidia.revocation import crl_name, crl_url, ocsp_name
from fedenclave.attestation.nvidia.rim import FOLDER
from fedenclave.attestation.nvidia.spdm import parse_report
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.vendors import readable
from fedenclave.vendors.download import DownloadFailed, Response
from fedenclave.vendors.readable import check_readable
from fedenclave.vendors.request import CollateralRequest, Files, saved_as

RIM_SERVICE = "https://rim.attestation.nvidia.com/v1/rim/"
OCSP_SERVICE = "https://ocsp.ndis.nvidia.com"
CRL_SERVICE = "http://crl.ndis.nvidia.com/"
_SIGNERS = re.compile(rb"X509Certificate>([^<]{1,8192})<")


def requests_for(report: bytes, certificates: bytes) -> list[CollateralRequest]:
    """Return what a verifier of a GPU's report needs.

    Raises:
        MalformedMessage: it is no report, or not with the certificates of a known device.
    """
    root = pinned_roots().device
    device = parse_device(certificates, root)
    parsed = parse_report(report, switch=device.switch)
    manifests = [
        CollateralRequest(url=RIM_SERVICE + name, files=_manifest(f"{FOLDER}/{name}.xml"))
        for name in manifest_names(device, parsed)
    ]
    return [*manifests, *_revocation_of(device.chain[1:], root)]


def _revocation_of(
    chain: Sequence[x509.Certificate], root: x509.Certificate
) -> list[CollateralRequest]:
    """Return what tells whether one of `chain` (lowest first, without the root) is revoked."""
    issuers = (*chain[1:], root)
    answers = [
        ocsp_request(certificate, issuer)
        for certificate, issuer in zip(chain, issuers, strict=True)
    ]
    return [*map(_crl_request, filter(None, map(crl_url, chain))), *answers]


def _crl_request(url: str) -> CollateralRequest:
    # A certificate whose signature nobody has verified yet must not send us to any other host.
    if not url.startswith(CRL_SERVICE):
        raise MalformedMessage(f"revocation list lies at {url[:80]!r}, want {CRL_SERVICE}...")
    return CollateralRequest(url=url, files=saved_as(crl_name(url), readable.crl))


def ocsp_request(certificate: x509.Certificate, issuer: x509.Certificate) -> CollateralRequest:
    """Return the question whether `issuer` has revoked `certificate`."""
    # The hash only names the issuer in the question; NVIDIA's responder knows SHA-384.
    question = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA384())
    return CollateralRequest(
        url=OCSP_SERVICE,
        files=saved_as(ocsp_name(certificate), readable.ocsp_answer),
        body=question.build().public_bytes(Encoding.DER),
        content_type="application/ocsp-request",
    )


def requests_for_signers(files: Files) -> list[CollateralRequest]:
    """Return what tells whether a signer of the manifests in `files` is revoked.

    Raises:
        MalformedMessage: a signer's certificate cannot be read, or names a list elsewhere.
    """
    root = pinned_roots().manifests
    requests = []
    for name, data in files.items():
        if name.startswith(f"{FOLDER}/"):
            chain = [each for each in _signers(data, name) if each != root]
            requests += _revocation_of(chain, root)
    return requests


def _signers(manifest: bytes, name: str) -> list[x509.Certificate]:
    # Only to know whom to ask about: who verifies the manifest parses it, and strictly.
    try:
        return [
            parse_certificate(base64.b64decode(b"".join(text.split())), f"signer of {name}")
            for text in _SIGNERS.findall(manifest)
        ]
    except binascii.Error as error:
        raise MalformedMessage(f"signer of {name} is not base64") from error


def _manifest(name: str) -> Callable[[Response], Files]:
    def files(response: Response) -> Files:
        try:
            manifest = base64.b64decode(json.loads(response.body)["rim"], validate=True)
        except (ValueError, KeyError, TypeError, binascii.Error, RecursionError) as error:
            raise DownloadFailed(f"NVIDIA's service sent no manifest for {name}") from error
        check_readable(name, manifest, readable.swid_tag)
        return {name: manifest}

    return files
