"""Credential activation, against a TPM made up here; tests/tpm does it with a software TPM."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fedenclave.attestation.tpm.activation import challenge, make_credential
from fedenclave.protocol.activation import Activation
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signing import public_key, sign, verify
from tests.attestation.fake_tpm import MEMBERS, FakeTpm
from tests.attestation.tpm_structures import Key, ec_key, rsa_key

KEYS = pytest.mark.parametrize("ek_key", [rsa_key(1), ec_key(1)], ids=["rsa", "p256"])
ACTIVATION = {
    "version": 1,
    "member": "alpha",
    "attestation_key": FakeTpm().name,
    "ek_certificate": sha256(b"certificate"),
    "time": 1,
}


@KEYS
def test_the_tpm_that_holds_the_key_answers(ek_key: Key) -> None:
    tpm = FakeTpm(ek_key=ek_key)
    credential, secret = challenge(ek_key.public_key(), tpm.name)
    assert tpm.answer(credential.to_file(), tpm.name) == secret


@KEYS
def test_a_tpm_that_holds_another_key_does_not(ek_key: Key) -> None:
    tpm = FakeTpm(ek_key=ek_key)
    credential, _ = challenge(ek_key.public_key(), tpm.name)
    assert tpm.answer(credential.to_file(), FakeTpm(ak_key=ec_key(7)).name) is None


def test_another_tpm_does_not() -> None:
    tpm = FakeTpm()
    credential, _ = challenge(ec_key(8).public_key(), tpm.name)
    assert tpm.answer(credential.to_file(), tpm.name) is None


@KEYS
def test_no_two_challenges_are_alike(ek_key: Key) -> None:
    first, second = (make_credential(ek_key.public_key(), FakeTpm().name, b"x") for _ in range(2))
    assert first != second


@pytest.mark.parametrize("key", [rsa_key(9), ec_key(5, ec.SECP384R1)], ids=["rsa-1024", "p384"])
def test_an_endorsement_key_of_another_template_is_refused(key: Key) -> None:
    with pytest.raises(MalformedMessage):
        challenge(key.public_key(), FakeTpm().name)


def test_a_secret_that_is_too_long_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="33 bytes"):
        make_credential(ec_key().public_key(), FakeTpm().name, bytes(33))


def test_a_statement_is_what_was_signed() -> None:
    statement = Activation(**ACTIVATION)  # type: ignore[arg-type]
    assert Activation.from_bytes(statement.to_bytes()) == statement
    key = MEMBERS["alpha"]
    assert verify(Activation, sign(statement, key), public_key(key)) == statement
    with pytest.raises(MalformedMessage):
        verify(Activation, sign(statement, key), public_key(MEMBERS["beta"]))


@pytest.mark.parametrize(
    "field", [{"version": 2}, {"member": "Alpha"}, {"member": ""}, {"attestation_key": bytes(32)}]
)
def test_a_statement_that_cannot_be_does_not_decode(field: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        Activation(**{**ACTIVATION, **field})  # type: ignore[arg-type]
