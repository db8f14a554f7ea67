"""One machine that is started five times, and the policy that a federation would write for it.

The starts: the image; the image again; another command line; an enclave with one changed byte; an
enclave that reports the image's measurement in place of its own.
"""

import json
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fedenclave.attestation.appraise import appraise_evidence, parts_of
from fedenclave.attestation.endorsements import NO_ENDORSEMENTS
from fedenclave.attestation.event_log import Event, parse_event_log
from fedenclave.attestation.policy import HEAD, read_policy_file
from fedenclave.attestation.result import Appraisal, EvidenceRefused
from fedenclave.attestation.tpm.key import parse_public
from fedenclave.enclave.tpm import attestation_key
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.enclave_pcr import ENCLAVE_PCR, QUOTED
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.protocol.digests import from_text, sha256
from fedenclave.protocol.evidence import Evidence, collected_report_data
from tests.guest import expected
from tests.guest.image import build, measured_files
from tests.guest.qemu import Start, quote
from tests.tpm.policy import policy
from tests.tpm.swtpm import Maker, SoftwareTpm

ROOT = Path(__file__).parents[2]
CHALLENGE = bytes(range(64))
REPORT_DATA = collected_report_data(CHALLENGE)
# An emulated processor that gets little time fails the kernel's test of its timer, and panics.
COMMAND_LINE = "console=ttyS0 quiet panic=-1 no_timer_check"
OTHER_COMMAND_LINE = COMMAND_LINE + " nokaslr"
AT_ONCE = 2

IMAGE, AGAIN, COMMAND, CHANGED, LIAR = "image", "again", "command-line", "changed", "liar"
STARTS = {IMAGE: IMAGE, AGAIN: IMAGE, COMMAND: IMAGE, CHANGED: CHANGED, LIAR: LIAR}
"""Which image each start is of."""

# What an enclave appends to its own `measured.py` to report the measurement of another.
LIE = """

class Claimed:
    measurement = bytes.fromhex("{measurement}")


read_measured_code = Claimed
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the starts were made of, and how each was quoted.

    Attributes:
        ak: the name of the attestation key, from before the first start.
        kernel: the kernel's file.
        image_size: bytes of the image IMAGE.
        image_digests: SHA-256 of every image.
        changed_bytes: how many bytes of CHANGED are not those of IMAGE.
        measurements: what the enclaves in IMAGE and CHANGED measure.
        evidence: by start.
    """

    ak: str
    kernel: bytes
    image_size: int
    image_digests: Mapping[str, bytes]
    changed_bytes: int
    measurements: Mapping[str, bytes]
    evidence: Mapping[str, Evidence]

    def registers(self, start: str) -> dict[int, bytes]:
        """Return the quoted values."""
        values = parts_of(self.evidence[start])["pcrs"]
        return {pcr: values[32 * i :][:32] for i, pcr in enumerate(QUOTED)}

    def events(self, start: str, pcr: int) -> list[Event]:
        """Return what the log says was extended into a register."""
        events = parse_event_log(parts_of(self.evidence[start])["event-log"])
        return [event for event in events if event.extends and event.index == pcr]

    def policy(self, *unpinned: int) -> str:
        """Return the policy of IMAGE, with any value for the registers `unpinned`.

        Kernel, command line, initial file system and enclave are pinned by what is computed from
        their files; the firmware's registers by what they were at the first start.
        """
        pcrs = {pcr: value.hex() for pcr, value in self.registers(IMAGE).items()}
        del pcrs[ENCLAVE_PCR]  # pinned as the measurement
        pcrs[9] = expected.started(COMMAND_LINE, self.image_digests[IMAGE]).hex()
        kernels = expected.kernel_digests(self.kernel, self.image_size)
        table = policy(
            aks=[self.ak],
            measurement=self.measurements[IMAGE],
            pcrs=pcrs | dict.fromkeys(unpinned, "any"),
            header="attestation.tpm.",
        )
        pinned = json.dumps([digest.hex() for digest in kernels])
        table = table.replace('boot_applications = ["any"]', f"boot_applications = {pinned}")
        return f"{HEAD}[attestation.tpm]\n{table}"

    def appraise(self, start: str, pins: str, report_data: bytes = REPORT_DATA) -> Appraisal:
        """Appraise as a client does."""
        now = int(time.time())
        pinned = read_policy_file(pins.encode())
        return appraise_evidence(self.evidence[start], pinned, report_data, now, NO_ENDORSEMENTS)

    def failing(self, start: str, pins: str, report_data: bytes = REPORT_DATA) -> set[str]:
        """Return the checks for which the start is refused."""
        with pytest.raises(EvidenceRefused) as refused:
            self.appraise(start, pins, report_data)
        return {check.name for check in refused.value.checks if not check.holds}


def start_all(folder: Path, kernel: Path) -> Machine:
    """Make the machine and its images in `folder`, start it, and delete the images again."""
    (folder / "maker").mkdir()
    tpm = Maker(folder / "maker").make(folder / "tpm")
    codes = {name: _copy_code(folder / name / "code") for name in (IMAGE, CHANGED, LIAR)}
    _change_a_byte(codes[CHANGED] / "fedenclave" / "enclave" / "mean.py")
    measurements = {name: _measure(codes[name]) for name in (IMAGE, CHANGED)}
    with (codes[LIAR] / "fedenclave" / "enclave" / "measured.py").open("a") as source:
        source.write(LIE.format(measurement=measurements[IMAGE].hex()))
    images = {name: build(code) for name, code in codes.items()}
    files = {name: folder / name / "image.cpio" for name in images}

    def start(name: str) -> Evidence:
        state = shutil.copytree(tpm, folder / name / "tpm")
        command_line = OTHER_COMMAND_LINE if name == COMMAND else COMMAND_LINE
        begun = Start(kernel=kernel, image=files[STARTS[name]], command_line=command_line)
        return Evidence.from_bytes(quote(begun, state, CHALLENGE))

    ak = _name_of_key(shutil.copytree(tpm, folder / "enrolment" / "tpm"))
    try:
        for name, file in files.items():
            file.write_bytes(images[name])
        with ThreadPoolExecutor(AT_ONCE) as pool:
            evidence = dict(zip(STARTS, pool.map(start, STARTS), strict=True))
    finally:
        for file in files.values():
            file.unlink(missing_ok=True)  # 100 MB each, which pytest would keep
    return Machine(
        ak=ak,
        kernel=kernel.read_bytes(),
        image_size=len(images[IMAGE]),
        image_digests={name: sha256(image) for name, image in images.items()},
        changed_bytes=_differences(images[IMAGE], images[CHANGED]),
        measurements=measurements,
        evidence=evidence,
    )


def _copy_code(folder: Path) -> Path:
    """Copy the enclave, so that image and measurement are of the same files."""
    for path in measured_files(ROOT):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


def _change_a_byte(path: Path) -> None:
    """Write the first letter of a module's docstring in the other case."""
    source, at = bytearray(path.read_bytes()), len('"""')
    source[at] ^= 0x20
    path.write_bytes(source)


def _measure(code: Path) -> bytes:
    return from_text(json.loads(measure_enclave(code))["measurement"])


def _differences(one: bytes, other: bytes) -> int:
    assert len(one) == len(other)
    return int(np.count_nonzero(np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)))


def _name_of_key(state: Path) -> str:
    """Return the attestation key's name, as it is enrolled before the machine is ever started."""
    tpm = SoftwareTpm(state)
    tpm.switch_on()
    try:
        with connected(tpm.path) as connection:
            return parse_public(attestation_key.create(connection).public).name.hex()
    finally:
        tpm.close()
