"""Certificates that come with a report: as PEM or DER, or in the table that a host hands out.

Nothing here is verified; but every byte is spoken for, so that none travels which no signature or
pin covers: PEM must be written as PEM is, and a table may hold only certificates and zeros.

Source of the table: AMD 56421 (GHCB standardization), SNP Extended Guest Request. An entry is GUID
(16 bytes), offset and length (4 bytes each, little-endian, from the table's start); an entry of
zeros ends the list. The GUID's byte order differs between hosts, so both are known.
"""

from __future__ import annotations

import uuid

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.certificates import parse_certificates
from fedenclave.attestation.reader import Reader
from fedenclave.protocol.errors import MalformedMessage

CERTIFICATES, TABLE = "certificates", "certificate-table"
_KNOWN = {
    "vcek": uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd"),
    "vlek": uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1"),
    "ask": uuid.UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782"),
    "ark": uuid.UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae"),
}
_GUIDS = {guid.bytes: name for name, guid in _KNOWN.items()} | {
    guid.bytes_le: name for name, guid in _KNOWN.items()
}
_GUID_SIZE = 16
_PEM = b"-----BEGIN"


def read_certificates(data: bytes, what: str) -> list[x509.Certificate]:
    """Return the certificates in a PEM file, or the one in a DER file.

    Raises:
        MalformedMessage: something else is in it, be it a comment or a space.
    """
    found = parse_certificates(data, what)
    if data.startswith(_PEM):
        written = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in found)
        # Lines may end as on Windows, and files do with or without an empty line.
        forms = {
            (written[:-1] + end).replace(b"\n", newline)
            for newline in (b"\n", b"\r\n")
            for end in (b"", b"\n", b"\n\n")
        }
        if data not in forms:
            raise MalformedMessage(f"{what} has more in it than certificates in pem")
    elif _PEM in data:
        raise MalformedMessage(f"{what} has something before its first certificate")
    return found


def read_table(data: bytes) -> list[x509.Certificate]:
    """Return the certificates in the table that a host returns with an extended report.

    Raises:
        MalformedMessage: an entry is unknown, lies outside or over another, or bytes that no entry
            covers are not zero.
    """
    entries, size = _read_entries(data)
    taken, end = [], size
    for name, offset, length in sorted(entries, key=lambda entry: entry[1]):
        if not length or offset < end or offset + length > len(data):
            raise MalformedMessage(
                f"certificate table puts its {name} at {offset}, {length} bytes: outside the "
                "table, or over something else"
            )
        if any(data[end:offset]):
            raise MalformedMessage(f"certificate table has bytes before its {name} that are unused")
        end = offset + length
        taken.append((name, data[offset:end]))
    if any(data[end:]):
        raise MalformedMessage("certificate table has bytes after its end that are not zero")
    found = []
    for name, der in taken:
        certificates = read_certificates(der, f"{name} in the certificate table")
        if len(certificates) != 1:
            raise MalformedMessage(f"certificate table has several certificates as its {name}")
        found += certificates
    return found


def _read_entries(data: bytes) -> tuple[list[tuple[str, int, int]], int]:
    """Return name, offset and length of each entry, and the size of the list of entries."""
    reader = Reader(data, "certificate table")
    entries: list[tuple[str, int, int]] = []
    while True:
        guid, offset, length = reader.take(_GUID_SIZE), reader.little(4), reader.little(4)
        if not any(guid) and not offset and not length:
            return entries, reader.at
        name = _GUIDS.get(guid)
        if name is None or name in {known for known, _, _ in entries}:
            raise MalformedMessage(
                f"certificate table has an entry {guid.hex()} that is unknown, or there twice"
            )
        entries.append((name, offset, length))
