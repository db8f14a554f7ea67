"""The enclave in a guest that measures its boot, and what a policy's registers are worth. Slow.

`make guest` runs it; tests/guest/qemu.py says what must be installed.
"""

import pytest

from fedenclave.attestation.result import Status
from fedenclave.enclave.tpm.enclave_pcr import ENCLAVE_PCR
from fedenclave.protocol.evidence import collected_report_data
from tests.guest import expected
from tests.guest.machine import (
    AGAIN,
    CHANGED,
    COMMAND,
    IMAGE,
    LIAR,
    OTHER_COMMAND_LINE,
    Machine,
    start_all,
)
from tests.guest.qemu import FIRMWARE, find_kernel, missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that was started five times."""
    if reason := missing():
        pytest.skip(reason)
    kernel = find_kernel()
    assert kernel is not None
    return start_all(tmp_path_factory.mktemp("guest"), kernel)


def test_a_booted_guest_is_affirmed_by_the_registers_of_its_image(machine: Machine) -> None:
    appraisal = machine.appraise(IMAGE, machine.policy())
    assert appraisal.status is Status.AFFIRMING
    assert appraisal.claims.identifiers["measurement"] == (machine.measurements[IMAGE].hex(),)
    assert appraisal.claims.identifiers["attestation-key"] == (machine.ak,)
    assert {"event log", "boot applications"} <= {check.name for check in appraisal.checks}


def test_the_same_image_started_again_has_the_same_registers(machine: Machine) -> None:
    assert machine.registers(AGAIN) == machine.registers(IMAGE)
    assert machine.appraise(AGAIN, machine.policy()).status is Status.AFFIRMING


def test_a_quote_for_another_challenge_is_refused(machine: Machine) -> None:
    asked = collected_report_data(b"another challenge")
    assert machine.failing(IMAGE, machine.policy(), asked) == {"report data"}


def test_another_command_line_is_refused_by_pcr_9_alone(machine: Machine) -> None:
    assert machine.failing(COMMAND, machine.policy()) == {"pcr 9"}
    started = expected.started(OTHER_COMMAND_LINE, machine.image_digests[IMAGE])
    assert machine.registers(COMMAND)[9] == started


def test_one_changed_byte_of_the_initial_file_system_is_refused(machine: Machine) -> None:
    assert machine.changed_bytes == 1
    assert machine.failing(CHANGED, machine.policy()) == {"pcr 9", "measurement"}


def test_a_changed_line_of_the_enclave_is_refused_by_its_measurement(machine: Machine) -> None:
    assert machine.failing(CHANGED, machine.policy(9)) == {"measurement"}
    changed = expected.extended(machine.measurements[CHANGED])
    assert machine.registers(CHANGED)[ENCLAVE_PCR] == changed


def test_an_enclave_that_lies_about_itself_is_refused_by_pcr_9(machine: Machine) -> None:
    assert machine.registers(LIAR)[ENCLAVE_PCR] == machine.registers(IMAGE)[ENCLAVE_PCR]
    failing = machine.failing(LIAR, machine.policy())
    assert "pcr 9" in failing
    # Its lie is believed: where what was booted is not pinned, a measurement proves nothing.
    assert "measurement" not in failing


def test_a_boot_without_secure_boot_is_refused_where_it_is_wanted(machine: Machine) -> None:
    pins = machine.policy().replace('secure_boot = "any"', 'secure_boot = "on"')
    assert machine.failing(IMAGE, pins) == {"secure boot"}


def test_the_kernel_is_measured_as_its_file_says(machine: Machine) -> None:
    digests = {event.digests["sha256"] for event in machine.events(IMAGE, 4)}
    (kernel,) = digests - {expected.CALLING, expected.SEPARATOR}
    assert kernel in expected.kernel_digests(machine.kernel, machine.image_size)


def test_the_firmwares_main_volume_is_measured_as_it_lies_in_its_file(machine: Machine) -> None:
    digests = {event.digests["sha256"] for event in machine.events(IMAGE, 0)}
    assert digests & set(expected.volume_digests(FIRMWARE.read_bytes()))


@pytest.mark.parametrize("pcr", [2, 3, 6])
def test_no_code_and_no_setting_of_a_device_is_measured(machine: Machine, pcr: int) -> None:
    assert machine.registers(IMAGE)[pcr] == expected.extended(expected.SEPARATOR)


@pytest.mark.parametrize("pcr", [5, 7])
def test_the_log_says_what_the_firmware_did_and_how_it_was_set(machine: Machine, pcr: int) -> None:
    assert all(event.covers_data("sha256") for event in machine.events(IMAGE, pcr))


def test_the_registers_of_a_boot_loader_that_is_not_there_are_zero(machine: Machine) -> None:
    assert {machine.registers(IMAGE)[pcr] for pcr in (8, 14)} == {bytes(32)}
