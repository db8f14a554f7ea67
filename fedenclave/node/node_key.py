"""The key by which a SuperLink knows a SuperNode, and the certificate by which it is known itself.

Formats: what flwr 1.41 reads. The private key is in OpenSSH's format, on NIST P-384, the public key
one OpenSSH line.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from fedenclave.client.files import read_file, read_private, write_whole
from fedenclave.protocol.errors import ConfigurationError

SOON_DAYS = 30
"""A certificate that ends sooner is pointed at: the operator needs time for the next one."""


def make_node_key(path: Path, comment: str) -> Path:
    """Write a new private key, and its public half beside it; return that one's path.

    Raises:
        ConfigurationError: one of them exists, or cannot be written.
    """
    public = path.with_name(f"{path.name}.pub")
    for each in (path, public):
        if each.exists():
            raise ConfigurationError(
                f"key file {each} exists already", hint="keys are never overwritten"
            )
    key = ec.generate_private_key(ec.SECP384R1())
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    write_whole(path, private, mode=0o600)
    try:
        write_whole(public, line + b" " + comment.encode() + b"\n")
    except ConfigurationError:
        path.unlink(missing_ok=True)  # nobody has seen it: half a pair is of no use
        raise
    return public


def check_node_key(path: Path) -> None:
    """Check that a private key is one that Flower takes, and its owner's alone.

    Raises:
        ConfigurationError: it is not.
    """
    data = read_private(path, "node key")
    try:
        key = load_ssh_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"node key {path} is no private key in OpenSSH's format without a password",
            hint="fedenclave node init makes one",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigurationError(f"node key {path} is of another kind, want an elliptic curve's")


def check_root_certificate(path: Path, now: datetime) -> datetime:
    """Check that a file holds certificates, and return until when all of them are valid.

    Raises:
        ConfigurationError: it does not, or one of them is not valid now.
    """
    try:
        certificates = x509.load_pem_x509_certificates(read_file(path, "root certificate"))
    except ValueError as error:
        raise ConfigurationError(
            f"root certificate {path} is not PEM", hint="ask the operator for it"
        ) from error
    until = min(each.not_valid_after_utc for each in certificates)
    if until <= now or any(each.not_valid_before_utc > now for each in certificates):
        begin = max(each.not_valid_before_utc for each in certificates)
        raise ConfigurationError(
            f"root certificate {path} is not valid now: it is from {begin:%Y-%m-%dT%H:%MZ} to "
            f"{until:%Y-%m-%dT%H:%MZ}, and this machine's clock says {now:%Y-%m-%dT%H:%MZ}",
            hint="is the clock right (timedatectl)? else ask the operator for a newer one",
        )
    return until
