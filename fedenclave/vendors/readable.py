"""Refuse an answer that is not of the kind that was asked for: a proxy's page, an error in HTML.

Nothing is verified here. But a file that cannot be read would have every later appraisal refuse,
since a damaged version is never passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from cryptography.x509 import ocsp

from fedenclave.attestation.certificates import parse_certificates
from fedenclave.attestation.crl import parse_crl
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.vendors.download import DownloadFailed

Reader = Callable[[bytes, str], object]
"""Reads bytes as one kind of file, called by a name in what it raises; or refuses them."""


def check_readable(name: str, data: bytes, reader: Reader) -> None:
    """Refuse `data`, to be kept as `name`, if it is not of the kind that `reader` reads.

    Raises:
        DownloadFailed: it is something else.
    """
    try:
        reader(data, name)
    # What a library says of bytes that it cannot read is of many kinds.
    except (MalformedMessage, ValueError, TypeError, RecursionError) as error:
        raise DownloadFailed(
            f"what was fetched as {name} is something else ({len(data)} bytes)",
            hint="does a proxy or a login page answer in the vendor's place? nothing was kept",
        ) from error


def certificates(data: bytes, name: str) -> None:
    """Read certificates, PEM or DER; see `Reader`."""
    parse_certificates(data, name)


def crl(data: bytes, name: str) -> None:
    """Read a revocation list; see `Reader`."""
    parse_crl(data, name)


def json_object(data: bytes, name: str) -> None:
    """Read an object in JSON; see `Reader`."""
    if not isinstance(json.loads(data), dict):
        raise ValueError(f"{name} is no object")


def ocsp_answer(data: bytes, name: str) -> None:
    """Read an OCSP answer; see `Reader`."""
    ocsp.load_der_ocsp_response(data)


def swid_tag(data: bytes, name: str) -> None:
    """Read, as far as a glance goes, a reference manifest; see `Reader`."""
    if b"SoftwareIdentity" not in data[:4096]:
        raise ValueError(f"{name} is no swid tag")
