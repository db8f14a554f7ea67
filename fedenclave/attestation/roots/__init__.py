"""The vendors' root certificates, pinned: one PEM file per vendor and product line.

README.md beside this file says for each where it came from and what its SHA-256 is; a test
compares.
"""

from __future__ import annotations

from importlib import resources

from cryptography import x509

from fedenclave.attestation.certificates import parse_certificates


def pinned(name: str) -> list[x509.Certificate]:
    """Return the certificates of `<name>.pem` in this folder."""
    data = resources.files(__package__).joinpath(f"{name}.pem").read_bytes()
    return parse_certificates(data, f"pinned root {name}")
