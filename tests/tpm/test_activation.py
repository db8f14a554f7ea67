"""A challenger finds out that the attestation key is in the TPM of an endorsement certificate."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedenclave.attestation.tpm.activation import challenge, make_credential
from fedenclave.attestation.tpm.key import TpmKey, attestation_problem, parse_public
from fedenclave.enclave.tpm import attestation_key, endorsement, nv
from fedenclave.enclave.tpm.activation import answer_challenge
from fedenclave.enclave.tpm.connection import ENDORSEMENT, connected
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.enclave.tpm.objects import create_primary
from fedenclave.enclave.tpm.templates import ENDORSEMENT_ECC, STORAGE_KEY
from tests.tpm.probe import define_and_write, loaded
from tests.tpm.swtpm import Maker, SoftwareTpm, missing

SECRET = bytes(range(32))


def key_of(tpm: SoftwareTpm) -> TpmKey:
    with connected(tpm.path) as connection:
        return parse_public(attestation_key.create(connection).public)


def endorsement_of(tpm: SoftwareTpm) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    with connected(tpm.path) as connection:
        (der,) = endorsement.certificates(connection)
    key = x509.load_der_x509_certificate(der).public_key()
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    return key


def test_the_key_is_an_attestation_key_by_the_verifiers_rules(tpm: SoftwareTpm) -> None:
    assert attestation_problem(key_of(tpm)) == ""


def test_the_endorsement_certificate_is_the_makers(tpm: SoftwareTpm, maker: Maker) -> None:
    with connected(tpm.path) as connection:
        (der,) = endorsement.certificates(connection)
    certificate = x509.load_der_x509_certificate(der)
    assert certificate.public_bytes(Encoding.DER) == der
    certificate.verify_directly_issued_by(x509.load_der_x509_certificate(maker.issuer))


def test_the_tpm_of_the_certificate_answers(tpm: SoftwareTpm) -> None:
    credential, secret = challenge(endorsement_of(tpm), key_of(tpm).name)
    assert answer_challenge(tpm.path, credential.to_file()) == secret
    assert loaded(tpm) == []


def test_it_answers_after_a_reboot(tpm: SoftwareTpm) -> None:
    credential, secret = challenge(endorsement_of(tpm), key_of(tpm).name)
    tpm.reboot()
    assert answer_challenge(tpm.path, credential.to_file()) == secret


@pytest.mark.skipif(bool(missing("tpm2_makecredential")), reason=missing("tpm2_makecredential"))
def test_it_answers_another_programs_challenge(tpm: SoftwareTpm, tmp_path: Path) -> None:
    pem = endorsement_of(tpm).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "ek.pem").write_bytes(pem)
    (tmp_path / "secret").write_bytes(SECRET)
    command = ["tpm2_makecredential", "-T", "none", "-G", "rsa", "-u", "ek.pem", "-s", "secret"]
    command += ["-n", key_of(tpm).name.hex(), "-o", "challenge"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert answer_challenge(tpm.path, (tmp_path / "challenge").read_bytes()) == SECRET


def test_another_tpm_of_the_same_maker_cannot_answer(
    tpm: SoftwareTpm, other_tpm: SoftwareTpm
) -> None:
    credential, _ = challenge(endorsement_of(tpm), key_of(tpm).name)
    with pytest.raises(TpmError):
        answer_challenge(other_tpm.path, credential.to_file())
    assert loaded(other_tpm) == []


def test_a_challenge_to_a_key_that_is_elsewhere_is_not_answered(
    tpm: SoftwareTpm, other_tpm: SoftwareTpm
) -> None:
    credential, _ = challenge(endorsement_of(tpm), key_of(other_tpm).name)
    with pytest.raises(TpmError):
        answer_challenge(tpm.path, credential.to_file())
    assert loaded(tpm) == []


def test_a_challenge_to_a_key_with_other_attributes_is_not_answered(tpm: SoftwareTpm) -> None:
    with connected(tpm.path) as connection:
        key = create_primary(connection, ENDORSEMENT, STORAGE_KEY)
    credential, _ = challenge(endorsement_of(tpm), parse_public(key.public).name)
    with pytest.raises(TpmError):
        answer_challenge(tpm.path, credential.to_file())


@pytest.mark.parametrize("cut", [0, 7, 9, 60, -1])
def test_what_is_no_challenge_is_refused(tpm: SoftwareTpm, cut: int) -> None:
    file = make_credential(endorsement_of(tpm), key_of(tpm).name, SECRET).to_file()
    with pytest.raises(TpmError, match="the challenge"):
        answer_challenge(tpm.path, file[:cut])
    with pytest.raises(TpmError, match="the challenge"):
        answer_challenge(tpm.path, file + b"\x00")


def test_a_tpm_with_a_certificate_for_an_elliptic_key_answers_with_that(
    blank_tpm: SoftwareTpm,
) -> None:
    with connected(blank_tpm.path) as connection:
        assert endorsement.certificates(connection) == []
        # What this certificate says is not looked at here; that it is there decides.
        define_and_write(connection, 0x01C0000A, b"\x30\x82\x00\x01\x00" + b"\xff" * 9)
        assert endorsement.certificates(connection) == [b"\x30\x82\x00\x01\x00"]
        public = endorsement.create(connection).public
        assert public[:2] == ENDORSEMENT_ECC[:2]
    point = public[-66:-34], public[-32:]
    x, y = (int.from_bytes(coordinate, "big") for coordinate in point)
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    credential, secret = challenge(key, key_of(blank_tpm).name)
    assert answer_challenge(blank_tpm.path, credential.to_file()) == secret


def test_a_chain_in_the_tpm_goes_with_the_certificate(tpm: SoftwareTpm, maker: Maker) -> None:
    with connected(tpm.path) as connection:
        (own,) = endorsement.certificates(connection)
        # Cut into two indices, with padding, as some makers do.
        define_and_write(connection, 0x01C00100, maker.issuer[:700])
        define_and_write(connection, 0x01C00101, maker.issuer[700:] + bytes(20))
        assert endorsement.certificates(connection) == [own, maker.issuer]


def test_a_certificate_that_ends_early_is_refused(blank_tpm: SoftwareTpm) -> None:
    with connected(blank_tpm.path) as connection:
        define_and_write(connection, 0x01C00002, b"\x30\x82\x40\x00\x00")
        with pytest.raises(TpmError, match="ends early"):
            endorsement.certificates(connection)


@pytest.mark.parametrize("index", [0x01C00003, 0x01C00004])
def test_a_template_of_the_makers_own_is_refused(tpm: SoftwareTpm, index: int) -> None:
    with connected(tpm.path) as connection:
        define_and_write(connection, index, bytes(32))
        assert nv.defined(connection, index, index)
        with pytest.raises(TpmError, match="template of its own"):
            endorsement.create(connection)
