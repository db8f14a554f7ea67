"""`python -m fedenclave.enclave.tpm`: what an operator does once for a machine."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.tpm.activation import challenge
from fedenclave.attestation.tpm.endorsement import parse_chain
from fedenclave.attestation.tpm.key import parse_public
from fedenclave.enclave.tpm import counter
from fedenclave.enclave.tpm.__main__ import main
from fedenclave.enclave.tpm.connection import connected
from tests.tpm.probe import define_and_write, loaded
from tests.tpm.swtpm import Maker, SoftwareTpm


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(list(arguments)) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_a_machine_is_enrolled(
    tpm: SoftwareTpm, maker: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with connected(tpm.path) as connection:
        define_and_write(connection, 0x01C00100, maker.issuer)
    keys = run(capsys, tpm.path)
    name = bytes.fromhex(keys["attestation_key_name"])
    assert parse_public(bytes.fromhex(keys["attestation_key"])).name == name
    chain = parse_chain(keys["ek_certificates"].encode())
    assert chain[1].public_bytes(Encoding.DER) == maker.issuer
    endorsement_key = chain[0].public_key()
    assert isinstance(endorsement_key, rsa.RSAPublicKey)
    credential, secret = challenge(endorsement_key, name)
    (tmp_path / "challenge").write_bytes(credential.to_file())
    assert run(capsys, tpm.path, "--answer", str(tmp_path / "challenge")) == {
        "secret": secret.hex()
    }
    assert loaded(tpm) == []


def test_a_counter_is_established(tpm: SoftwareTpm, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, tpm.path, "--establish-counter")
    assert first["counter_name"] == counter.NAME.hex()
    assert run(capsys, tpm.path, "--establish-counter") == first


@pytest.mark.parametrize("arguments", [[], ["--help"], ["tpm", "--answer"], ["tpm", "--other"]])
def test_wrong_usage_is_answered_with_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")


@pytest.mark.parametrize("arguments", [["/dev/null"], ["/dev/null", "--answer", "/nonexistent"]])
def test_what_cannot_be_done_is_said(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.out == ""
