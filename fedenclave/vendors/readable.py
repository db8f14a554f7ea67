"""Refuse an answer that is not of the kind that was asked for: a proxy's page, an error in HTML.

Nothing is verified here. But a file that cannot be read would have every later appraisal refuse,
since a damaged version is never passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from cryptography.x509 import ocsp

from fedenclave.attestation.certificates import parse_certificates
from fedenclave.attestation.crl import parse_crl
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.vendors.download import DownloadFailed


def check_readable(files: Mapping[str, bytes]) -> None:
    """Refuse files that are not what their names say.

    Raises:
        DownloadFailed: one is something else.
    """
    for name, data in files.items():
        try:
            _reader(name)(data)
        # What a library says of bytes that it cannot read is of many kinds.
        except (MalformedMessage, ValueError, TypeError, RecursionError) as error:
            raise DownloadFailed(
                f"what was fetched as {name} is something else ({len(data)} bytes)",
                hint="does a proxy or a login page answer in the vendor's place? nothing was kept",
            ) from error


def _reader(name: str) -> Callable[[bytes], object]:
    if name.endswith(".crl") or "crl" in name.rpartition("/")[2]:
        return lambda data: parse_crl(data, name)
    if name.endswith(".json"):
        return _object
    if "/ocsp/" in name:
        return ocsp.load_der_ocsp_response
    if name.endswith(".xml"):
        return _xml
    return lambda data: parse_certificates(data, name)


def _object(data: bytes) -> None:
    if not isinstance(json.loads(data), dict):
        raise ValueError("no object")


def _xml(data: bytes) -> None:
    if b"SoftwareIdentity" not in data[:4096]:
        raise ValueError("no swid tag")
