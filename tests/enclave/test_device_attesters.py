"""Evidence by /dev/sev-guest, /dev/nsm and Gramine's files: bound to what was asked, or none."""

import errno
import struct
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.enclave.attesters.attester import AttestationUnavailable, Attester
from fedenclave.enclave.attesters.gramine import GramineAttester
from fedenclave.enclave.attesters.nitro import NitroAttester
from fedenclave.enclave.attesters.sev_guest import SevGuestAttester
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.evidence import EvidenceParts
from fedenclave.protocol.signing import public_key
from tests.enclave.fake_kernel import FakeKernel, Gramine, failure, nsm, sev_guest

KEY = Ed25519PrivateKey.generate()
DATA = bytes(range(64))
SEV_GUEST, NSM, GRAMINE = Path("/dev/sev-guest"), Path("/dev/nsm"), Path("/dev/attestation")


def echo(data: bytes) -> bytes:
    return b"over " + data


def parts(attester: Attester, name: str) -> dict[str, bytes]:
    evidence = attester.evidence(DATA, KEY)
    assert (evidence.format, evidence.signing_key) == (name, public_key(KEY))
    return EvidenceParts.from_bytes(evidence.document).by_name()


def refused(attester: Attester) -> str:
    """Ask; there must be no evidence. Return why."""
    with pytest.raises(AttestationUnavailable, match=Refusal.ATTESTATION) as unavailable:
        attester.evidence(DATA, KEY)
    return unavailable.value.why


# -- /dev/sev-guest


def snp(device: Callable[..., None]) -> SevGuestAttester:
    return SevGuestAttester(FakeKernel(devices={str(SEV_GUEST): device}), SEV_GUEST)


def table(*certificates: bytes) -> bytes:
    """Return a certificate table as a host makes it."""
    head, body = b"", b""
    start = 24 * (len(certificates) + 1)
    for number, certificate in enumerate(certificates, start=1):
        head += struct.pack("<16sII", bytes([number]) * 16, start + len(body), len(certificate))
        body += certificate
    return head + bytes(24) + body


def test_a_snp_report_comes_with_the_hosts_certificates_where_it_has_any() -> None:
    assert parts(snp(sev_guest(echo)), "sev-snp") == {"report": echo(DATA)}
    made = table(b"\x01" * 1500, b"\x02" * 900)
    assert parts(snp(sev_guest(echo, made)), "sev-snp") == {
        "report": echo(DATA),
        "certificate-table": made,
    }
    # A whole buffer of entries, without the zero entry that should end it.
    full = struct.pack("<16sII", b"\x01" * 16, 0, 0x4000) * (0x4000 // 24)
    assert len(parts(snp(sev_guest(echo, full)), "sev-snp")["certificate-table"]) == 0x4000


@given(st.binary(max_size=0x4000))
def test_whatever_the_host_supplies_as_a_table_is_cut_to_what_it_covers(made: bytes) -> None:
    found = parts(snp(sev_guest(echo, made)), "sev-snp")
    assert made.ljust(0x4000, b"\0").startswith(found.get("certificate-table", b""))


def test_a_snp_firmware_that_refuses_or_has_no_room_gives_no_evidence() -> None:
    assert "status 22" in refused(snp(sev_guest(echo, status=22)))
    assert "a report of 3969 bytes" in refused(snp(sev_guest(lambda _: bytes(3969))))
    assert "a report of 0 bytes" in refused(snp(sev_guest(lambda _: b"")))
    assert "Input/output error" in refused(snp(sev_guest(echo, bytes(0x4001))))


# -- /dev/nsm


def nitro(device: Callable[..., None]) -> NitroAttester:
    return NitroAttester(FakeKernel(devices={str(NSM): device}), NSM)


def test_a_nitro_document_is_the_modules_own() -> None:
    assert parts(nitro(nsm(echo)), "nitro") == {"document": echo(DATA)}
    large = b"d" * 9000
    assert parts(nitro(nsm(lambda _: large)), "nitro") == {"document": large}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"Error": "InternalError"}, "answers with InternalError"),
        ({"Error": "\x1b[2J"}, "something else"),
        ({"Attestation": {"document": "text"}}, "something else"),
        ({"Attestation": {"document": b"d", "more": b""}}, "something else"),
        ({"Attestation": {"document": b"d"}, "Error": "InternalError"}, "answers with Internal"),
        ({"Attestation": {"document": b"d"}, "LockPCR": {}}, "something else"),
        ({"GetRandom": {"random": b"d"}}, "something else"),
        ("LockPCR", "something else"),
    ],
)
def test_another_answer_of_the_modules_is_no_evidence(answer: object, why: str) -> None:
    assert why in refused(nitro(nsm(echo, cbor2.dumps(answer))))


@given(st.binary(max_size=100))
def test_any_bytes_of_the_modules_are_evidence_or_the_one_error(answer: bytes) -> None:
    assert "answers with" in refused(nitro(nsm(echo, answer)))


@pytest.mark.parametrize("indefinite", [False, True])
def test_a_document_is_read_in_every_encoding_of_the_answer(indefinite: bool) -> None:
    answer = cbor2.dumps({"Attestation": {"document": b"d"}}, indefinite_containers=indefinite)
    assert parts(nitro(nsm(echo, answer)), "nitro") == {"document": b"d"}


def test_an_answer_that_the_buffer_cut_off_is_no_evidence() -> None:
    assert "does not decode" in refused(nitro(nsm(lambda _: bytes(0x3000))))


# -- Gramine


def sgx(gramine: Gramine) -> GramineAttester:
    return GramineAttester(FakeKernel(gramine=gramine), GRAMINE)


def test_an_sgx_quote_is_over_what_was_written_before() -> None:
    attester = sgx(Gramine(quote=echo))
    for _ in range(2):
        assert parts(attester, "sgx") == {"quote": echo(DATA)}


@pytest.mark.parametrize("kind", [b"none", b"epid", b"dcap\n", b"", b"x" * 100])
def test_another_attestation_type_than_dcap_is_no_evidence(kind: bytes) -> None:
    assert "dcap" in refused(sgx(Gramine(kind=kind))) or len(kind) > 16


def test_a_quote_that_gramine_cannot_get_is_no_evidence() -> None:
    def refuse(_: bytes) -> bytes:
        raise failure(errno.EACCES)

    assert "Permission denied" in refused(sgx(Gramine(quote=refuse)))
    assert "File too large" in refused(sgx(Gramine(quote=lambda _: bytes(100_000))))


# -- all


@pytest.mark.parametrize(
    "attester",
    [
        SevGuestAttester(FakeKernel(), SEV_GUEST),
        NitroAttester(FakeKernel(), NSM),
        GramineAttester(FakeKernel(), GRAMINE),
    ],
    ids=lambda attester: type(attester).__name__,
)
def test_an_interface_that_is_not_there_gives_no_evidence(attester: Attester) -> None:
    assert "No such file" in refused(attester)


@pytest.mark.parametrize("number", [errno.EIO, errno.EPERM, errno.ENOTTY, errno.EINTR])
def test_every_error_of_a_device_is_the_one_error(number: int) -> None:
    def fail(request: int, argument: bytearray) -> None:
        raise failure(number)

    for attester in (snp(fail), nitro(fail)):
        refused(attester)
