"""The enclave's evidence from a real (software) TPM: measured once, quoted, the same key always."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import AttestationUnavailable
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.tpm import EVENT_LOG, TpmAttester
from fedenclave.enclave.tpm import attestation_key, counter, pcrs
from fedenclave.enclave.tpm.connection import ENDORSEMENT, connected
from fedenclave.enclave.tpm.enclave_pcr import ENCLAVE_PCR, QUOTED
from fedenclave.enclave.tpm.wire import sized
from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.evidence import Evidence, EvidenceParts
from fedenclave.protocol.signing import public_key
from tests.tpm.conftest import NewTpm
from tests.tpm.probe import loaded, set_password
from tests.tpm.swtpm import SoftwareTpm, missing

MEASUREMENT = sha256(b"this enclave")
CHANGED = sha256(b"this enclave, with one changed line")
REPORT_DATA = bytes(range(64))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def attester(
    tpm: SoftwareTpm, measurement: Digest = MEASUREMENT, kernel: Kernel | None = None
) -> TpmAttester:
    return TpmAttester(kernel or Kernel(), tpm.socket, measurement)


def parts(evidence: Evidence) -> dict[str, bytes]:
    return EvidenceParts.from_bytes(evidence.document).by_name()


def test_evidence_is_of_the_format_tpm_and_names_the_enclaves_key(tpm: SoftwareTpm) -> None:
    evidence = attester(tpm).evidence(REPORT_DATA, KEY)
    assert evidence.format == "tpm"
    assert evidence.signing_key == public_key(KEY)
    assert set(parts(evidence)) == {"ak", "pcrs", "quote", "signature"}


@pytest.mark.skipif(bool(missing("tpm2_checkquote")), reason=missing("tpm2_checkquote"))
@pytest.mark.parametrize("asked", [REPORT_DATA, bytes(64)], ids=["this", "another"])
def test_another_program_verifies_the_quote_over_the_binding(
    tpm: SoftwareTpm, tmp_path: Path, asked: bytes
) -> None:
    found = parts(attester(tpm).evidence(REPORT_DATA, KEY))
    for name in ("quote", "signature"):
        (tmp_path / name).write_bytes(found[name])
    (tmp_path / "ak").write_bytes(sized(found["ak"]))
    command = ["tpm2_checkquote", "-u", "ak", "-m", "quote", "-s", "signature", "-g", "sha256"]
    command += ["-q", hashlib.sha256(asked).hexdigest()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (asked == REPORT_DATA), done.stderr


def test_the_enclaves_measurement_is_in_pcr_11_and_nowhere_else(tpm: SoftwareTpm) -> None:
    values = parts(attester(tpm).evidence(REPORT_DATA, KEY))["pcrs"]
    by_index = {pcr: values[32 * i :][:32] for i, pcr in enumerate(QUOTED)}
    assert by_index.pop(ENCLAVE_PCR) == hashlib.sha256(bytes(32) + MEASUREMENT).digest()
    assert set(by_index.values()) == {bytes(32)}


def test_an_enclave_started_again_in_the_same_boot_extends_nothing(tpm: SoftwareTpm) -> None:
    first = parts(attester(tpm).evidence(REPORT_DATA, KEY))
    again = parts(attester(tpm).evidence(REPORT_DATA, KEY))
    assert again["pcrs"] == first["pcrs"]


def test_a_changed_enclave_after_this_one_does_not_start_before_a_reboot(tpm: SoftwareTpm) -> None:
    attester(tpm)
    with pytest.raises(AttestationUnavailable) as refused:
        attester(tpm, CHANGED)
    assert refused.value.why.startswith("pcr 11 holds ")
    assert "start it again" in refused.value.hint
    tpm.reboot()
    found = parts(attester(tpm, CHANGED).evidence(REPORT_DATA, KEY))
    assert hashlib.sha256(bytes(32) + CHANGED).digest() in found["pcrs"]


def test_an_enclave_does_not_start_where_a_boot_loader_uses_its_register(tpm: SoftwareTpm) -> None:
    with connected(tpm.path) as connection:
        pcrs.extend(connection, ENCLAVE_PCR, bytes(32))
    with pytest.raises(AttestationUnavailable, match="attestation"):
        attester(tpm)


def test_the_attestation_key_is_the_same_after_every_reboot(tpm: SoftwareTpm) -> None:
    first = parts(attester(tpm).evidence(REPORT_DATA, KEY))["ak"]
    tpm.reboot()
    assert parts(attester(tpm, CHANGED).evidence(REPORT_DATA, KEY))["ak"] == first


def test_another_tpm_has_another_attestation_key(tpm: SoftwareTpm, other_tpm: SoftwareTpm) -> None:
    keys = {parts(attester(t).evidence(REPORT_DATA, KEY))["ak"] for t in (tpm, other_tpm)}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("device", "number"),
    [("tpmrm0", 0), ("tpm0", 0), ("tpmrm1", 1), ("swtpm.sock", None), ("tpm", None)],
)
def test_the_firmwares_event_log_of_this_very_tpm_goes_with_the_evidence(
    tpm: SoftwareTpm, tmp_path: Path, device: str, number: int | None
) -> None:
    for other in (0, 1):
        log = tmp_path / EVENT_LOG.format(tpm=f"tpm{other}").lstrip("/")
        log.parent.mkdir(parents=True)
        log.write_bytes(b"written for %d" % other)
    # The software TPM under the name of a device.
    link = tmp_path / device
    link.symlink_to(tpm.socket)

    class Machine(Kernel):
        def path(self, absolute: str) -> Path:
            return tmp_path / absolute.lstrip("/")

    found = parts(TpmAttester(Machine(), link, MEASUREMENT).evidence(REPORT_DATA, KEY))
    wanted = None if number is None else b"written for %d" % number
    assert found.get("event-log") == wanted


def test_a_defined_counter_goes_with_the_evidence(tpm: SoftwareTpm) -> None:
    with connected(tpm.path) as connection:
        counter.establish(connection)
    found = parts(attester(tpm).evidence(REPORT_DATA, KEY))
    assert counter.NAME in found["counter"]
    assert hashlib.sha256(REPORT_DATA).digest() in found["counter"]
    assert found["counter-signature"]


def test_nothing_is_left_loaded_in_the_tpm(tpm: SoftwareTpm) -> None:
    attests = attester(tpm)
    assert loaded(tpm) == []
    for _ in range(10):  # it has room for three objects
        attests.evidence(REPORT_DATA, KEY)
    assert loaded(tpm) == []


def test_nothing_is_left_loaded_after_an_error_either(tpm: SoftwareTpm) -> None:
    with pytest.raises(ZeroDivisionError), connected(tpm.path) as connection:
        attestation_key.create(connection)
        raise ZeroDivisionError
    assert loaded(tpm) == []


def test_a_tpm_that_is_switched_off_is_said_to_be_missing(tpm: SoftwareTpm) -> None:
    attests = attester(tpm)
    tpm.switch_off()
    with pytest.raises(AttestationUnavailable) as refused:
        attests.evidence(REPORT_DATA, KEY)
    assert refused.value.why.startswith("cannot open the tpm")
    tpm.switch_on()
    # Its registers are zero again, and only a new start measures.
    with pytest.raises(AttestationUnavailable) as refused:
        attests.evidence(REPORT_DATA, KEY)
    assert refused.value.why.startswith("pcr 11 holds 0000")
    assert attester(tpm).evidence(REPORT_DATA, KEY)


def test_a_register_that_somebody_extends_later_is_said_to_be_the_reason(tpm: SoftwareTpm) -> None:
    attests = attester(tpm)
    with connected(tpm.path) as connection:
        pcrs.extend(connection, ENCLAVE_PCR, bytes(32))
    with pytest.raises(AttestationUnavailable) as refused:
        attests.evidence(REPORT_DATA, KEY)
    assert refused.value.why.startswith("pcr 11 holds ")
    assert loaded(tpm) == []


def test_a_hierarchy_with_a_password_is_said_to_be_the_reason(new_tpm: NewTpm) -> None:
    tpm = new_tpm()
    attests = attester(tpm)
    with connected(tpm.path) as connection:
        set_password(connection, ENDORSEMENT)
    with pytest.raises(AttestationUnavailable) as refused:
        attests.evidence(REPORT_DATA, KEY)
    assert "authorisation refused" in refused.value.why
    assert "must have empty authorisation values" in refused.value.hint
    assert loaded(tpm) == []
