"""The register that holds the enclave's measurement, and those that a quote is over.

PCR 0-7 hold the firmware, its settings and the state of Secure Boot; 8 and 9 what the boot loader
started: command line, kernel, initial file system; 14 shim's keys. Together they say which
operating system runs, and that system is what starts this enclave and nothing else with access to
the TPM. PCR 11 holds the enclave's measurement, extended by itself.

PCR 11 adds a claim, not a root of trust: other code in the place of this enclave could extend the
same value. What rules that out is that PCR 0-9 and 14 are those of a system without other code.

systemd-stub measures unified kernel images into PCR 11 too: start such an image without it.

Sources: TCG PC Client Platform Firmware Profile, version 1.06, section 3.3.4; UAPI group, Linux TPM
PCR registry.
"""

from __future__ import annotations

from fedenclave.enclave.tpm import pcrs
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.errors import TpmError

ENCLAVE_PCR = 11
QUOTED = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ENCLAVE_PCR, 14)

_AT = pcrs.DIGEST_SIZE * QUOTED.index(ENCLAVE_PCR)


def measure(device: str, measurement: bytes) -> None:
    """Extend the enclave's measurement (32 bytes), once in a boot.

    An enclave that is started again finds its own measurement there and leaves it. Of two that are
    started at the same moment, one waits: both would find zero, and extend twice. Where the TPM
    cannot be had alone (containers with a device file each), that is seen afterwards, and refused.

    Raises:
        TpmError: the register holds something else: another enclave, or a boot loader's.
    """
    with connected(device, alone=True) as tpm:
        if pcrs.read(tpm, [ENCLAVE_PCR]) == pcrs.ZERO:
            pcrs.extend(tpm, ENCLAVE_PCR, measurement)
        check(pcrs.read(tpm, QUOTED), measurement)


def check(values: bytes, measurement: bytes) -> None:
    """Refuse values of `QUOTED` unless PCR 11 holds this measurement and nothing else.

    Raises:
        TpmError: it holds something else.
    """
    found = values[_AT : _AT + pcrs.DIGEST_SIZE]
    wanted = pcrs.extended(pcrs.ZERO, measurement)
    if found != wanted:
        raise TpmError(
            f"pcr {ENCLAVE_PCR} holds {found.hex()}, want {wanted.hex()}, which is this enclave's "
            "measurement and nothing else",
            hint="other code has been measured since the machine was started, or this code twice: "
            "start it again; if it is a unified kernel image, whose loader uses this register, "
            "start it without",
        )
