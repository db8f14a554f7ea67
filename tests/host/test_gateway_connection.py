"""The gateway's edge: TLS, ports, health, reflection, and what it can import."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fedenclave.demo.certificates import ServerCertificate, make_server_certificate
from fedenclave.host.gateway import SERVICE, Gateway, TlsFiles
from fedenclave.host.proto import aggregator_pb2 as pb
from fedenclave.host.remote import AggregatorUnreachable, RemoteAggregator
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.simulation.federation import SimulatedFederation
from tests.node.connect_proxy import ConnectProxy


@pytest.fixture
def certificate(tmp_path: Path) -> ServerCertificate:
    return make_server_certificate(tmp_path / "tls", now=datetime.now(UTC))


@pytest.fixture
def tls_gateway(
    federation: SimulatedFederation, certificate: ServerCertificate
) -> Iterator[Gateway]:
    tls = TlsFiles(certificate=certificate.certificate, key=certificate.private_key)
    with Gateway(federation.aggregator, "localhost:0", tls=tls) as running:
        yield running


def test_a_client_that_knows_the_root_speaks_tls(
    federation: SimulatedFederation, tls_gateway: Gateway, certificate: ServerCertificate
) -> None:
    root = certificate.ca_certificate.read_bytes()
    with RemoteAggregator(tls_gateway.address, root_certificate=root, insecure=False) as remote:
        assert remote.model() == federation.aggregator.model()


def test_a_gateway_whose_certificate_leads_to_another_root_is_refused_at_once(
    tls_gateway: Gateway, tmp_path: Path
) -> None:
    other = make_server_certificate(tmp_path / "other", now=datetime.now(UTC))
    for root in (other.ca_certificate.read_bytes(), None):
        began = time.monotonic()
        with pytest.raises(AggregatorUnreachable, match="does not hold") as refused:
            RemoteAggregator(tls_gateway.address, root_certificate=root, insecure=False)
        assert time.monotonic() - began < 5
        assert tls_gateway.address in refused.value.message
        assert "root certificate" in refused.value.hint


def test_a_gateway_whose_certificate_has_another_name_is_refused(
    federation: SimulatedFederation, certificate: ServerCertificate
) -> None:
    tls = TlsFiles(certificate=certificate.certificate, key=certificate.private_key)
    root = certificate.ca_certificate.read_bytes()
    with (
        Gateway(federation.aggregator, "127.0.0.2:0", tls=tls) as gateway,
        pytest.raises(AggregatorUnreachable, match="does not hold"),
    ):
        RemoteAggregator(gateway.address, root_certificate=root, insecure=False)


def test_a_plain_text_client_of_a_tls_gateway_is_told_to_look_at_tls(tls_gateway: Gateway) -> None:
    with pytest.raises(AggregatorUnreachable, match="no aggregator answers") as refused:
        RemoteAggregator(
            tls_gateway.address, root_certificate=None, insecure=True, connect_seconds=1
        )
    assert "do both sides use TLS" in refused.value.hint


def test_a_root_certificate_that_is_not_pem_is_refused() -> None:
    for junk in (b"", b"junk", b"\xff"):
        with pytest.raises(ConfigurationError, match="not PEM"):
            RemoteAggregator("127.0.0.1:9", root_certificate=junk, insecure=False)


def test_a_tls_client_does_not_fall_back_to_plain_text(
    gateway: Gateway, certificate: ServerCertificate
) -> None:
    with pytest.raises(AggregatorUnreachable, match="no aggregator answers"):
        RemoteAggregator(
            gateway.address,
            root_certificate=certificate.ca_certificate.read_bytes(),
            insecure=False,
            connect_seconds=1,
        )


def test_a_root_certificate_and_plain_text_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="plain text asked for"):
        RemoteAggregator("127.0.0.1:1", root_certificate=b"pem", insecure=True)


def test_an_address_where_nobody_listens_is_unreachable_in_bounded_time() -> None:
    began = time.monotonic()
    with pytest.raises(AggregatorUnreachable, match=r"no aggregator answers at 127\.0\.0\.1:9:"):
        RemoteAggregator("127.0.0.1:9", root_certificate=None, insecure=True, connect_seconds=1)
    assert time.monotonic() - began < 5


def test_a_connection_that_breaks_is_unreachable(
    gateway: Gateway, remote: RemoteAggregator
) -> None:
    gateway.close()
    with pytest.raises(AggregatorUnreachable, match="no aggregator answers"):
        remote.status()


def test_another_grpc_server_is_not_taken_for_an_aggregator() -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(AggregatorUnreachable, match="not an aggregator of this version"):
            RemoteAggregator(f"127.0.0.1:{port}", root_certificate=None, insecure=True)
    finally:
        server.stop(None).wait()


def test_a_port_in_use_is_refused_with_a_hint(
    federation: SimulatedFederation, gateway: Gateway
) -> None:
    with pytest.raises(ConfigurationError, match="port is taken") as refused:
        Gateway(federation.aggregator, gateway.address, tls=None, insecure_plaintext=True)
    assert str(gateway.port) in refused.value.hint


@pytest.mark.parametrize(
    "address", ["", "9443", "host", "host:port", "host:70000", "::1:9443", "unix:/tmp/socket"]
)
def test_an_address_that_is_not_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="want host:port"):
        RemoteAggregator(address, root_certificate=None, insecure=True)


def test_plain_text_must_be_named(federation: SimulatedFederation) -> None:
    with pytest.raises(ConfigurationError, match="no TLS files"):
        Gateway(federation.aggregator, "127.0.0.1:0", tls=None)


def test_tls_files_that_do_not_fit_are_refused_at_the_start(
    federation: SimulatedFederation, certificate: ServerCertificate, tmp_path: Path
) -> None:
    other = make_server_certificate(tmp_path / "other", now=datetime.now(UTC))
    not_pem = tmp_path / "not.pem"
    not_pem.write_text("nothing")
    for key, message in (
        (other.private_key, "cannot be used"),
        (not_pem, "cannot be used"),
        (tmp_path / "missing", "cannot read TLS file"),
    ):
        tls = TlsFiles(certificate=certificate.certificate, key=key)
        with pytest.raises(ConfigurationError, match=message):
            Gateway(federation.aggregator, "127.0.0.1:0", tls=tls)


def test_health_checks_answer_for_the_server_and_the_service(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE):
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_names_the_service_and_its_methods(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    services, file = stub.ServerReflectionInfo(iter(questions))
    names = {service.name for service in services.list_services_response.service}
    assert SERVICE == "fedenclave.v1.Aggregator"
    assert {SERVICE, "grpc.health.v1.Health"} <= names
    described = file.file_descriptor_response.file_descriptor_proto
    assert described == [pb.DESCRIPTOR.serialized_pb]


def test_nothing_that_the_gateway_imports_opens_an_update() -> None:
    script = (
        "import sys, fedenclave.host.serve, fedenclave.host.gateway, fedenclave.host.remote\n"
        "print('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "fedenclave.host.gateway" in loaded
    opens = (
        "fedenclave.protocol.opening",
        "fedenclave.protocol.hpke",
        "fedenclave.enclave",
        "cryptography.hazmat.primitives.ciphers",
        "cryptography.hazmat.primitives.hpke",
        "cryptography.hazmat.primitives.kdf",
        "cryptography.hazmat.primitives.asymmetric.x25519",
        "cryptography.hazmat.primitives.asymmetric.mlkem",
    )
    for name in opens:
        assert not {module for module in loaded if module == name or module.startswith(name + ".")}


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy"])
def test_a_gateway_is_reached_through_the_environments_proxy(
    tls_gateway: Gateway,
    certificate: ServerCertificate,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    root = certificate.ca_certificate.read_bytes()
    proxy = ConnectProxy()
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
    with RemoteAggregator(tls_gateway.address, root_certificate=root, insecure=False) as remote:
        assert remote.status().state == "idle"
    assert set(proxy.seen) == {f"CONNECT {tls_gateway.address}"}
    monkeypatch.setenv("no_proxy", "localhost")
    proxy.seen.clear()
    with RemoteAggregator(tls_gateway.address, root_certificate=root, insecure=False):
        assert not proxy.seen
    monkeypatch.delenv("no_proxy")
    proxy.close()
    with pytest.raises(AggregatorUnreachable) as refused:
        RemoteAggregator(
            tls_gateway.address, root_certificate=root, insecure=False, connect_seconds=1
        )
    assert f"127.0.0.1:{proxy.port}" in refused.value.message
    assert "proxy" in refused.value.hint
