"""The attester of Azure's confidential VMs, on a software TPM that was laid out as theirs are."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attestation.tpm.key import parse_public
from fedenclave.attestation.tpm.quote import Quoted, parse_attest
from fedenclave.enclave.attesters.attester import AttestationUnavailable
from fedenclave.enclave.attesters.azure_vm import ATTESTATION_KEY, REPORT_INDEX, AzureVmAttester
from fedenclave.enclave.tpm import pcrs
from fedenclave.enclave.tpm.connection import OWNER, connected
from fedenclave.enclave.tpm.enclave_pcr import QUOTED
from fedenclave.enclave.tpm.objects import create_primary
from fedenclave.enclave.tpm.wire import sized, u16, u32
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.evidence import EvidenceParts
from fedenclave.protocol.signing import public_key
from tests.tpm.probe import define_and_write, loaded, make_persistent
from tests.tpm.swtpm import SoftwareTpm

MEASUREMENT = sha256(b"this enclave")
REPORT_DATA = bytes(range(64))
REPORT = bytes(n % 251 for n in range(2048))
"""As large as this TPM takes; Azure's has 2,600 bytes."""

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
RSA_SIGNING_KEY = (
    # RSA, named by SHA-256; restricted, signing, fixed, with an empty password and no policy.
    u16(0x0001)
    + u16(0x000B)
    + u32(0x00050072)
    + sized(b"")
    # No symmetric algorithm; RSASSA with SHA-256; 2048 bits, the usual exponent.
    + u16(0x0010)
    + u16(0x0014)
    + u16(0x000B)
    + u16(2048)
    + u32(0)
    + sized(bytes(256))
)


@pytest.fixture
def key(tpm: SoftwareTpm) -> rsa.RSAPublicKey:
    """Lay out the TPM as Azure's paravisor does; return its attestation key."""
    with connected(tpm.path) as connection:
        define_and_write(connection, REPORT_INDEX, REPORT)
        made = create_primary(connection, OWNER, RSA_SIGNING_KEY)
        make_persistent(connection, made, ATTESTATION_KEY)
    public = parse_public(made.public).key
    assert isinstance(public, rsa.RSAPublicKey)
    return public


def test_the_report_is_as_it_lies_there_and_its_key_quotes_the_binding(
    tpm: SoftwareTpm, key: rsa.RSAPublicKey
) -> None:
    attester = AzureVmAttester(tpm.socket, MEASUREMENT)
    evidence = attester.evidence(REPORT_DATA, KEY)
    assert (evidence.format, evidence.signing_key) == ("azure-vm", public_key(KEY))
    parts = EvidenceParts.from_bytes(evidence.document).by_name()
    assert set(parts) == {"hcl-report", "tpm-pcrs", "tpm-quote", "tpm-signature"}
    assert parts["hcl-report"] == REPORT
    # TPMT_SIGNATURE: RSASSA, SHA-256, then the sized signature.
    head, signature = parts["tpm-signature"][:6], parts["tpm-signature"][6:]
    assert head == bytes.fromhex("0014000b0100")
    key.verify(signature, parts["tpm-quote"], padding.PKCS1v15(), hashes.SHA256())
    attest = parse_attest(parts["tpm-quote"])
    assert attest.extra_data == hashlib.sha256(REPORT_DATA).digest()
    assert isinstance(attest.body, Quoted)
    assert attest.body.selections[0].indices == QUOTED
    assert attest.body.digest == hashlib.sha256(parts["tpm-pcrs"]).digest()
    assert hashlib.sha256(bytes(32) + MEASUREMENT).digest() in parts["tpm-pcrs"]
    assert loaded(tpm) == []


def test_the_persistent_key_is_left_where_it_is(tpm: SoftwareTpm, key: rsa.RSAPublicKey) -> None:
    attester = AzureVmAttester(tpm.socket, MEASUREMENT)
    first = attester.evidence(REPORT_DATA, KEY)
    tpm.reboot()
    with pytest.raises(AttestationUnavailable) as refused:
        attester.evidence(REPORT_DATA, KEY)
    assert refused.value.why.startswith("pcr 11 holds 0000")
    second = AzureVmAttester(tpm.socket, MEASUREMENT).evidence(REPORT_DATA, KEY)
    assert first.document != second.document  # the TPM's clock is in it
    assert key


def test_a_machine_that_is_not_azures_is_refused_and_nothing_is_measured(tpm: SoftwareTpm) -> None:
    with pytest.raises(AttestationUnavailable) as refused:
        AzureVmAttester(tpm.socket, MEASUREMENT)
    assert "NV_READ_PUBLIC" in refused.value.why
    with connected(tpm.path) as connection:
        assert pcrs.read(connection, [11]) == bytes(32)


def test_a_report_without_the_key_it_speaks_of_is_no_evidence(tpm: SoftwareTpm) -> None:
    with connected(tpm.path) as connection:
        define_and_write(connection, REPORT_INDEX, REPORT)
    attester = AzureVmAttester(tpm.socket, MEASUREMENT)
    with pytest.raises(AttestationUnavailable, match="attestation"):
        attester.evidence(REPORT_DATA, KEY)
