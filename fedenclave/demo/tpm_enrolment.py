"""Enrol the demonstration's machine by its TPM, and write what the hospitals' manifest pins of it.

Each step is one that operator and members take with real machines; only the files' ways between
them are short. What is different here: the TPM is a program that the operator runs.

  1. The machine says which keys its TPM has, and defines its counter.
  2. Every hospital verifies the certificates up to the TPM maker's root, and challenges the TPM;
     only the TPM that holds both keys can answer. The hospital signs what the answer shows.
  3. The registers are read from a piece of evidence, after a start of the machine as it is to run.

Source: fedenclave/attestation/tpm/README.md, "Credential activation, step by step".
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.appraise import parts_of
from fedenclave.attestation.formats import ALL_FORMATS
from fedenclave.attestation.policy import HEAD, read_policy_file
from fedenclave.attestation.tpm.enrolment import (
    MachineKeys,
    challenge_keys,
    confirm,
    read_answer,
    read_keys,
)
from fedenclave.attestation.tpm.registers import MEASUREMENT_PCR
from fedenclave.client.files import read_key, write_whole
from fedenclave.client.folder import ClientFolder
from fedenclave.demo.software_tpm import SoftwareTpm
from fedenclave.host.enclave_process import collect_evidence, enrol_tpm, measure_enclave
from fedenclave.protocol.digests import from_text
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.evidence import REPORT_DATA_SIZE, Evidence

_TABLES = """\
{head}

# tpm: a software TPM, for a demonstration. insecure: the TPM is a program that the operator runs,
# which proves the procedure, and nothing about the platform.
[attestation.tpm]
# Its attestation key. Every hospital has challenged the TPM, and has signed that it answered.
aks = ["{key}"]
activated_by = 0  # those statements are not asked for in evidence
activators = ["none"]
ek_roots = ["none"]
# What `fedenclave measure` says.
measurements = ["{measurement}"]
firmware_versions = ["{firmware}"]
secure_boot = "any"  # a software TPM sees no firmware
boot_applications = ["any"]
counter_name = "{counter}"
# Nothing says what the machine started, so the best result is a warning. On real machines: [].
exceptions = ["unmeasured-boot"]
# Zero: no firmware has measured anything. On a real machine they say what was started.
[attestation.tpm.pcrs]
{registers}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValues:
    """What a machine's TPM holds after the right start, in lower-case hexadecimal."""

    firmware: str
    registers: Mapping[str, str]


def enrol_machine(tpm: SoftwareTpm, hospitals: Mapping[str, ClientFolder]) -> str:
    """Enrol the machine of `tpm` with every hospital; return the [attestation] tables.

    Args:
        tpm: switched on; its register 11 holds the enclave's measurement afterwards.
        hospitals: folders with keys, by name.

    Raises:
        ConfigurationError: the TPM refuses, or what it says cannot be used.
        EvidenceRefused: a hospital does not accept its certificates or its answer.
        EnclaveDied: the enclave's process could not be asked.
    """
    device = str(tpm.socket)
    keys = _keys(tpm, device)
    for name, hospital in hospitals.items():
        _challenge(tpm, device, keys, name, hospital)
    counter = str(json.loads(enrol_tpm(device, "--establish-counter"))["counter_name"])
    found = reference_values(collect_evidence(tpm.tee, bytes(REPORT_DATA_SIZE)))
    tables = _TABLES.format(
        head=HEAD.strip(),
        key=keys.name.hex(),
        # Of the code that the hospitals have themselves, and not what the machine says of its own.
        measurement=from_text(str(json.loads(measure_enclave())["measurement"])).hex(),
        firmware=found.firmware,
        counter=counter,
        registers="\n".join(f'{index} = ["{v}"]' for index, v in found.registers.items()),
    )
    read_policy_file(tables.encode())
    return tables


def _keys(tpm: SoftwareTpm, device: str) -> MachineKeys:
    """Return the machine's keys, with the certificate that the TPM itself does not hold."""
    report = json.loads(enrol_tpm(device))
    report["ek_certificates"] += tpm.issuer.public_bytes(Encoding.PEM).decode()
    data = json.dumps(report, indent=2).encode()
    write_whole(tpm.folder / "keys.json", data)
    return read_keys(data)


def _challenge(
    tpm: SoftwareTpm, device: str, keys: MachineKeys, name: str, hospital: ClientFolder
) -> None:
    """Be a hospital that challenges the TPM, and keep what it signs."""
    now = int(time.time())
    credential, kept = challenge_keys(keys, [tpm.root], now)
    challenge = tpm.folder / f"{name}.challenge"
    write_whole(challenge, credential.to_file())
    answer = read_answer(enrol_tpm(device, "--answer", str(challenge)))
    statement = confirm(
        kept,
        answer,
        member=hospital.identity().member,
        key=read_key(hospital.path / "member.key"),
        now=now,
    )
    write_whole(tpm.folder / f"{name}.activation", statement)


def reference_values(evidence: bytes) -> ReferenceValues:
    """Return what evidence of a machine says of firmware and registers, but for the enclave's own.

    The enclave's register is pinned by the measurement of its code.

    Raises:
        MalformedMessage: it is no evidence of a TPM.
        EvidenceRefused: its document does not decode.
    """
    record = Evidence.from_bytes(evidence)
    tpm = ALL_FORMATS["tpm"]
    if record.format != tpm.name:
        raise MalformedMessage(f"evidence is of format {record.format[:40]!r}, want {tpm.name}")
    claims = tpm.inspect(parts_of(record))
    registers, firmware = claims.get("pcrs"), claims.get("firmware-version")
    if not isinstance(registers, Mapping) or not isinstance(firmware, str):
        raise MalformedMessage("evidence of a tpm has no quote of registers")
    own = str(MEASUREMENT_PCR)
    return ReferenceValues(
        firmware=firmware, registers={i: v for i, v in registers.items() if i != own}
    )
