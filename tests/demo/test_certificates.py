"""What flwr and Python's own TLS make of the demo's certificates and keys."""

from __future__ import annotations

import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import socketpair

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from fedenclave.demo.certificates import (
    LIFETIME,
    ServerCertificate,
    make_node_key,
    make_server_certificate,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def verify(files: ServerCertificate, name: str, now: datetime) -> None:
    root = x509.load_pem_x509_certificate(files.ca_certificate.read_bytes())
    leaf = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    subject = x509.DNSName(name)
    policy = PolicyBuilder().store(Store([root])).time(now).build_server_verifier(subject)
    policy.verify(leaf, [])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_server_certificate_verifies_against_its_authority(tmp_path: Path) -> None:
    files = make_server_certificate(tmp_path, now=NOW)
    verify(files, "localhost", NOW)


def test_server_certificate_is_refused_for_another_name(tmp_path: Path) -> None:
    files = make_server_certificate(tmp_path, now=NOW)
    with pytest.raises(VerificationError):
        verify(files, "aggregator.example", NOW)


def test_server_certificate_is_refused_once_expired(tmp_path: Path) -> None:
    files = make_server_certificate(tmp_path, now=NOW)
    with pytest.raises(VerificationError):
        verify(files, "localhost", NOW + LIFETIME + timedelta(seconds=1))


def test_server_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    ours = make_server_certificate(tmp_path / "ours", now=NOW)
    theirs = make_server_certificate(tmp_path / "theirs", now=NOW)
    mixed = ServerCertificate(
        ca_certificate=ours.ca_certificate,
        certificate=theirs.certificate,
        private_key=theirs.private_key,
    )
    with pytest.raises(VerificationError):
        verify(mixed, "localhost", NOW)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::1"])
def test_strict_tls_handshake_on_loopback_succeeds(tmp_path: Path, name: str) -> None:
    files = make_server_certificate(tmp_path, now=datetime.now(UTC))
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(files.certificate, files.private_key)
    client_side = ssl.create_default_context(cafile=files.ca_certificate)
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socketpair()

    def serve() -> None:
        with server_side.wrap_socket(far, server_side=True) as connection:
            connection.sendall(b"hello")

    server = threading.Thread(target=serve)
    server.start()
    with client_side.wrap_socket(near, server_hostname=name) as connection:
        assert connection.recv(5) == b"hello"
    server.join(timeout=10)


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    server = make_server_certificate(folder, now=NOW)
    node = make_node_key(folder, "node-a")
    assert mode(folder) == 0o700
    assert mode(server.private_key) == 0o600
    assert mode(node.private_key) == 0o600


def test_authority_private_key_is_never_written(tmp_path: Path) -> None:
    files = make_server_certificate(tmp_path, now=NOW)
    holders = [path for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert holders == [files.private_key]


def test_existing_private_key_is_not_overwritten(tmp_path: Path) -> None:
    before = make_node_key(tmp_path, "node-a").private_key.read_bytes()
    with pytest.raises(FileExistsError):
        make_node_key(tmp_path, "node-a")
    assert (tmp_path / "node-a").read_bytes() == before


def test_time_without_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="time zone"):
        make_server_certificate(tmp_path, now=NOW.replace(tzinfo=None))


def test_node_key_halves_belong_together_and_are_on_p384(tmp_path: Path) -> None:
    files = make_node_key(tmp_path, "node-a")
    private_key = load_ssh_private_key(files.private_key.read_bytes(), None)
    public_key = load_ssh_public_key(files.public_key.read_bytes())
    assert isinstance(private_key, ec.EllipticCurvePrivateKey)
    assert isinstance(private_key.curve, ec.SECP384R1)
    assert private_key.public_key() == public_key


@pytest.mark.parametrize("name", ["", "../key", "a/b", "a b"])
def test_node_key_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        make_node_key(tmp_path, name)
    assert list(tmp_path.iterdir()) == []
