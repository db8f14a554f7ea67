"""How the demonstration enrols its machine: what the hospitals pin, and what they sign."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.attestation.policy import read_policies, read_policy_file
from fedenclave.attestation.tpm.policy import TpmPins
from fedenclave.client.folder import ClientFolder
from fedenclave.client.identity import Identity
from fedenclave.demo.processes import ProcessGroup
from fedenclave.demo.software_tpm import SoftwareTpm
from fedenclave.demo.tpm_enrolment import enrol_machine, reference_values
from fedenclave.enclave.tpm.enclave_pcr import ENCLAVE_PCR, QUOTED
from fedenclave.host.enclave_process import collect_evidence, measure_enclave
from fedenclave.protocol.activation import Activation
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signing import verify
from tests.tpm.swtpm import missing


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SoftwareTpm]:
    """A TPM with certificates, switched on."""
    if reason := missing():
        pytest.skip(reason)
    with ProcessGroup(tmp_path / "group") as group:
        tpm = SoftwareTpm(tmp_path / "tpm")
        tpm.make(group)
        tpm.switch_on(group)
        yield tpm


def test_the_manifest_pins_key_code_counter_and_registers_of_a_challenged_machine(
    tpm: SoftwareTpm, tmp_path: Path
) -> None:
    identity = Identity(client="lindenhof-1", member="lindenhof")
    hospital = ClientFolder.create(tmp_path / "lindenhof", identity)
    tables = enrol_machine(tpm, {"lindenhof": hospital})
    policy = read_policies(read_policy_file(tables.encode()))
    assert list(policy) == ["tpm"]
    pins = policy["tpm"].pins
    assert isinstance(pins, TpmPins)
    keys = json.loads((tpm.folder / "keys.json").read_bytes())
    assert pins.aks == (bytes.fromhex(keys["attestation_key_name"]),)
    measurement = str(json.loads(measure_enclave())["measurement"]).removeprefix("sha256:")
    assert pins.measurements == (bytes.fromhex(measurement),)
    assert pins.counter_name is not None
    assert set(pins.pcrs) == set(QUOTED) - {ENCLAVE_PCR}
    # No firmware measured anything, so all are zero, and the manifest says that it knows.
    assert set(pins.pcrs.values()) == {(bytes(32),)}
    assert policy["tpm"].exceptions == {"unmeasured-boot"}
    statement = (tpm.folder / "lindenhof.activation").read_bytes()
    activation = verify(Activation, statement, hospital.public_keys()[1])
    assert activation.member == "lindenhof"
    assert activation.attestation_key == pins.aks[0]


def test_development_evidence_gives_no_reference_values() -> None:
    with pytest.raises(MalformedMessage, match="format 'insecure', want tpm"):
        reference_values(collect_evidence("insecure", bytes(64)))
