"""`fedenclave attest tpm`: operator and member enrol a machine, and evidence carries the result."""

from __future__ import annotations

import json
import re
import ssl
from importlib import resources
from pathlib import Path

import pytest

from fedenclave.attack_suite.world import now
from fedenclave.attestation.appraise import appraise_evidence
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.endorsements import Endorsements
from fedenclave.attestation.policy import read_policy_file
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.enclave.tpm import pcrs
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.enclave_pcr import ENCLAVE_PCR, QUOTED
from fedenclave.host.enclave_process import collect_evidence
from fedenclave.host.evidence_parts import with_parts
from fedenclave.protocol.activation import Activation
from fedenclave.protocol.digests import from_text, sha256
from fedenclave.protocol.evidence import Evidence, collected_report_data
from fedenclave.protocol.signing import Signed, key_to_text
from tests.attacks.world import measurement
from tests.cli.conftest import Command, enrolled, enrolled_once, fedenclave  # noqa: F401 - fixtures
from tests.tpm.policy import UNMEASURED_BOOT, policy
from tests.tpm.swtpm import Maker, SoftwareTpm
from tests.tpm.world import HEAD

ROOTS = resources.files("fedenclave.attestation.roots")
BOUND = b"\x07" * 64


def pem(der: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(der)


@pytest.fixture
def machine(tpm: SoftwareTpm, maker: Maker, tmp_path: Path, fedenclave: Command) -> Path:  # noqa: F811
    """Return a folder with what the operator sends: the machine's keys, with the whole chain."""
    done = fedenclave(
        "attest", "tpm", "keys", "--device", tpm.path, "--out", tmp_path / "keys.json"
    )
    assert done.status == 0, done.err
    keys = json.loads((tmp_path / "keys.json").read_text())
    # This TPM holds no intermediate certificates: the operator adds its maker's.
    keys["ek_certificates"] = keys["ek_certificates"] + pem(maker.issuer)
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    (tmp_path / "ek.pem").write_text(keys["ek_certificates"])
    (tmp_path / "root.pem").write_text(pem(maker.root))
    return tmp_path


def challenge_words(folder: Path) -> list[object]:
    words: list[object] = ["attest", "tpm", "challenge", folder / "keys.json"]
    words += ["--ek-root", folder / "root.pem", "--out", folder / "challenge"]
    return [*words, "--secret", folder / "secret"]


def confirm_words(folder: Path, bank: str) -> list[object]:
    words: list[object] = ["attest", "tpm", "confirm"]
    words += ["--secret", folder / "secret", "--answer", folder / "answer.json"]
    return [*words, "--dir", folder / bank, "--out", folder / f"{bank}.activation"]


def test_a_machine_that_members_challenged_is_accepted_by_its_ek_chain(
    machine: Path,
    enrolled: Path,  # noqa: F811
    maker: Maker,
    tpm: SoftwareTpm,
    fedenclave: Command,  # noqa: F811
) -> None:
    for bank in ("alpha", "beta"):
        assert fedenclave(*challenge_words(machine)).status == 0
        answer = ("attest", "tpm", "answer", machine / "challenge", "--device", tpm.path)
        assert fedenclave(*answer, "--out", machine / "answer.json").status == 0
        done = fedenclave(*confirm_words(machine, bank))
        assert done.status == 0, done.err
    keys = json.loads((machine / "keys.json").read_text())
    assert keys["attestation_key_name"] in done.out
    packed = [machine / f"{bank}.activation" for bank in ("alpha", "beta")]
    words = ("attest", "tpm", "pack", *packed, "--out", machine / "activations")
    assert fedenclave(*words).status == 0
    # The aggregator adds to its machine's evidence what the machine cannot say itself.
    evidence = with_parts(
        Evidence.from_bytes(collect_evidence(f"tpm:{tpm.path}", BOUND)),
        {
            "activations": (machine / "activations").read_bytes(),
            "ek-certificates": (machine / "ek.pem").read_bytes(),
        },
    )
    bound = collected_report_data(BOUND)
    rules = activated_policy(enrolled, maker, tpm, wanted=2)
    held = Endorsements(
        collateral=from_mapping({"tpm/ek-roots/maker.pem": pem(maker.root).encode()}, now())
    )
    result = appraise_evidence(evidence, read_policy_file(rules), bound, now(), held)
    # All but what no software TPM can show: that firmware measured what was started.
    assert result.status == "warning"
    assert [check.name for check in result.checks if check.excepted] == ["measured boot"]
    with pytest.raises(EvidenceRefused, match="activated by 2 members"):
        three = activated_policy(enrolled, maker, tpm, wanted=3)
        appraise_evidence(evidence, read_policy_file(three), bound, now(), held)


def activated_policy(enrolled: Path, maker: Maker, tpm: SoftwareTpm, *, wanted: int) -> bytes:  # noqa: F811
    members = [
        json.loads((enrolled / bank / "enrolment.json").read_text())["member_key"]
        for bank in ("alpha", "beta", "gamma")
    ]
    keys = [
        key if key.startswith("ed25519:") else key_to_text(bytes.fromhex(key)) for key in members
    ]
    registers = [pcr for pcr in QUOTED if pcr != ENCLAVE_PCR]
    with connected(tpm.path) as connection:
        values = pcrs.read(connection, registers)
    activation = (
        f"activated_by = {wanted}\nactivators = {json.dumps(keys)}\n"
        f'ek_roots = ["{sha256(maker.root).hex()}"]\n'
    )
    body = policy(
        aks=["none"],
        measurement=from_text(measurement()),
        pcrs={pcr: values[32 * i :][:32].hex() for i, pcr in enumerate(registers)},
        activation=activation,
        header="attestation.tpm.",
        exceptions=[UNMEASURED_BOOT],
    )
    return (HEAD + body).encode()


def test_a_tpm_without_the_makers_root_is_not_challenged(
    machine: Path,
    fedenclave: Command,  # noqa: F811
) -> None:
    other = ROOTS.joinpath("aws-nitro.pem").read_bytes()
    (machine / "root.pem").write_bytes(other)
    done = fedenclave(*challenge_words(machine))
    assert done.status == 1
    assert not (machine / "secret").exists()
    assert not (machine / "challenge").exists()


def test_a_wrong_answer_confirms_nothing(
    machine: Path,
    enrolled: Path,  # noqa: F811
    fedenclave: Command,  # noqa: F811
) -> None:
    del enrolled
    assert fedenclave(*challenge_words(machine)).status == 0
    for answer in (json.dumps({"secret": "00" * 32}), json.dumps({"secret": ""}), "[" * 100_000):
        (machine / "answer.json").write_text(answer)
        done = fedenclave(*confirm_words(machine, "alpha"))
        assert done.status == 1
        assert re.search("does not hold this key|answer cannot be read", done.err)
        assert not (machine / "alpha.activation").exists()


def test_operator_sending_other_keys_with_a_true_answer_confirms_only_what_was_challenged(
    machine: Path,
    enrolled: Path,  # noqa: F811
    tpm: SoftwareTpm,
    fedenclave: Command,  # noqa: F811
) -> None:
    del enrolled
    challenged = json.loads((machine / "keys.json").read_text())["attestation_key_name"]
    assert fedenclave(*challenge_words(machine)).status == 0
    answer = ("attest", "tpm", "answer", machine / "challenge", "--device", tpm.path)
    assert fedenclave(*answer, "--out", machine / "answer.json").status == 0
    # Whatever else the operator sends along is not even read.
    (machine / "keys.json").write_text("{}")
    done = fedenclave(*confirm_words(machine, "alpha"))
    assert done.status == 0, done.err
    assert challenged in done.out
    payload = Signed.from_bytes((machine / "alpha.activation").read_bytes()).payload
    assert Activation.from_bytes(payload).attestation_key.hex() == challenged


def test_another_tpm_cannot_answer(
    machine: Path,
    other_tpm: SoftwareTpm,
    fedenclave: Command,  # noqa: F811
) -> None:
    assert fedenclave(*challenge_words(machine)).status == 0
    words = ("attest", "tpm", "answer", machine / "challenge", "--device", other_tpm.path)
    done = fedenclave(*words, "--out", machine / "answer.json")
    assert done.status == 1
    assert "Traceback" not in done.err
    assert not (machine / "answer.json").exists()


def test_the_counter_is_defined_once_and_named(tpm: SoftwareTpm, fedenclave: Command) -> None:  # noqa: F811
    first = fedenclave("attest", "tpm", "counter", "--device", tpm.path)
    assert first.status == 0, first.err
    assert 'counter_name = "000bff0c' in first.out
    assert fedenclave("attest", "tpm", "counter", "--device", tpm.path).out == first.out
