"""How launcher and apps know their SuperNode: by a certificate that was made for it alone.

The SuperNode's Runtime API listens on a port of 127.0.0.1, which any user of this machine can take
while the SuperNode is down. So it speaks TLS, under a key that exists since its start and that only
this node's user can read, and whoever asks it trusts that certificate and no authority.

Rules:
  * Nothing is asked of, or taken from, who does not hold the key.
  * No redirect is followed.

Source: flwr 1.41, flwr/supercore/protobuf/client.py; RFC 5280, section 4.2.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedenclave.node.configuration import HOST

if TYPE_CHECKING:
    from flwr.supercore.protobuf.client import ProtobufClient, ProtobufClientInterceptor
    from flwr.supercore.runtime import RuntimeHttpClient

# A SuperNode may run for years. What ends the key's use is that it is removed with its folder.
_LIFETIME = timedelta(days=3650)
_SKEW = timedelta(days=1)


def make_identity(now: datetime | None = None) -> tuple[bytes, bytes]:
    """Return a certificate for 127.0.0.1 that nobody else has signed, and its private key, in PEM.

    Args:
        now: with a time zone; by default the present time.
    """
    at = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "FedEnclave node")])
    address = x509.IPAddress(ipaddress.ip_address(HOST))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _SKEW)
        .not_valid_after(at + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private


def runtime_client(
    address: str, certificate: bytes, interceptors: Sequence[ProtobufClientInterceptor]
) -> RuntimeHttpClient:
    """Return a client that speaks to the holder of this certificate's key, and to nobody else.

    Args:
        address: host:port.
        certificate: the SuperNode's, in PEM.
        interceptors: Flower's, for tokens and versions.

    Raises:
        ValueError: the certificate is none. An empty one would let the system's authorities decide.
    """
    from flwr.supercore.retry import make_simple_http_retry_invoker
    from flwr.supercore.runtime import RuntimeHttpClient

    x509.load_pem_x509_certificate(certificate)
    client = RuntimeHttpClient.from_server_address(
        server_address=address,
        insecure=False,
        root_certificates=certificate,
        interceptors=interceptors,
        retry_invoker=make_simple_http_retry_invoker(),
    )
    follow_no_redirect(client)
    return client


def follow_no_redirect(client: ProtobufClient) -> None:
    """Keep one of Flower's clients from going where an answer sends it.

    Raises:
        AttributeError: it is not built as flwr 1.41 builds it.
    """
    inner = client._client
    if inner.follow_redirects not in (True, False):
        raise AttributeError("Flower's client has no follow_redirects")
    inner.follow_redirects = False
