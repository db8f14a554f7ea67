"""Whether the SuperLink answers: straight and by a proxy, with its certificate or another one."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedenclave.client.folder import ClientFolder
from fedenclave.client.identity import Identity
from fedenclave.demo.certificates import ServerCertificate, make_server_certificate
from fedenclave.demo.ports import pick_free_ports
from fedenclave.node.configuration import NodeConfiguration, read_configuration, write_configuration
from fedenclave.node.reach import superlink_row
from fedenclave.node.row import State
from tests.node.connect_proxy import ConnectProxy

NOBODY: dict[str, str] = {}


class Server:
    """Speaks TLS on a port of 127.0.0.1, and says nothing."""

    def __init__(self, certificate: ServerCertificate) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.private_key)
        self._context, self._socket = context, socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with suppress(OSError), self._context.wrap_socket(connection, server_side=True):
                    pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def certificate(tmp_path: Path) -> ServerCertificate:
    return make_server_certificate(tmp_path / "tls", now=datetime.now(UTC))


@pytest.fixture
def server(certificate: ServerCertificate) -> Iterator[Server]:
    made = Server(certificate)
    yield made
    made.close()


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    made = ConnectProxy(password="so secret")
    yield made
    made.close()


def node(
    tmp_path: Path, address: str, authority: ServerCertificate, proxy: str = ""
) -> NodeConfiguration:
    folder = ClientFolder.create(tmp_path / "node", Identity(client="a-1", member="a")).path
    path = write_configuration(folder, address=address, port=29094)
    (folder / "superlink-ca.pem").write_bytes(authority.ca_certificate.read_bytes())
    if proxy:
        path.write_text(path.read_text().replace('# proxy = "http://proxy.example:3128"', proxy))
    return read_configuration(folder)


def test_a_superlink_with_the_right_certificate_answers(
    tmp_path: Path, server: Server, certificate: ServerCertificate
) -> None:
    found = superlink_row(node(tmp_path, f"127.0.0.1:{server.port}", certificate), NOBODY)
    assert (found.state, found.found) == (State.OK, f"127.0.0.1:{server.port} answers")


def test_one_with_another_certificate_is_named(tmp_path: Path, server: Server) -> None:
    other = make_server_certificate(tmp_path / "other", now=datetime.now(UTC))
    found = superlink_row(node(tmp_path, f"127.0.0.1:{server.port}", other), NOBODY)
    assert found.state is State.UNREACHABLE
    assert "shows another certificate: " in found.found
    assert "superlink-ca.pem" in found.hint


def test_one_that_is_not_there_is_tried_no_longer_than_that(
    tmp_path: Path, certificate: ServerCertificate
) -> None:
    (port,) = pick_free_ports(1)
    found = superlink_row(node(tmp_path, f"127.0.0.1:{port}", certificate), NOBODY)
    assert found.state is State.UNREACHABLE
    assert found.found == f"127.0.0.1:{port} does not answer: Connection refused"
    assert found.bad
    assert not found.stops


def test_what_speaks_no_tls_is_said_to_answer_nothing(
    tmp_path: Path, certificate: ServerCertificate
) -> None:
    def answer() -> None:
        connection, _ = plain.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as plain:
        threading.Thread(target=answer, daemon=True).start()
        address = f"127.0.0.1:{plain.getsockname()[1]}"
        found = superlink_row(node(tmp_path, address, certificate), NOBODY)
    assert found.state is State.UNREACHABLE
    assert "does not answer: " in found.found


def test_by_a_proxy_the_proxy_is_asked_and_its_password_shown_to_nobody(
    tmp_path: Path, server: Server, certificate: ServerCertificate, proxy: ConnectProxy
) -> None:
    address = f"127.0.0.1:{server.port}"
    said = f'proxy = "http://user:so%20secret@127.0.0.1:{proxy.port}"'
    found = superlink_row(node(tmp_path, address, certificate, said), NOBODY)
    assert found.found == f"{address} by 127.0.0.1:{proxy.port} answers"
    assert proxy.seen == [f"CONNECT {address}"]


def test_a_proxy_that_wants_another_password_is_the_reason(
    tmp_path: Path, server: Server, certificate: ServerCertificate, proxy: ConnectProxy
) -> None:
    said = f'proxy = "http://user:wrong@127.0.0.1:{proxy.port}"'
    found = superlink_row(node(tmp_path, f"127.0.0.1:{server.port}", certificate, said), NOBODY)
    assert found.state is State.UNREACHABLE
    assert "407" in found.found
    assert "wrong" not in found.found + found.hint


def test_without_a_usable_authority_nobody_is_asked(
    tmp_path: Path, certificate: ServerCertificate
) -> None:
    configuration = node(tmp_path, "127.0.0.1:9", certificate)
    configuration.root_certificate.write_text("none")
    assert superlink_row(configuration, NOBODY).found == "not asked: see the other rows"
