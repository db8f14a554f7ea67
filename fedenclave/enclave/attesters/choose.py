"""Choose the attester by `NAME` or `NAME:PATH`: the interface's device, folder or socket.

A name is taken at its word: where that hardware does not answer, there is no evidence, and never
that of another. `auto` takes what is there, asking in this order:

  1. `sgx`: Gramine's `/dev/attestation/attestation_type`;
  2. `nitro`: `/dev/nsm`;
  3. `confidential-space`: the launcher's socket;
  4. `sev-snp`, `tdx`, `cca`: whichever guest has registered with configfs-tsm;
  5. `sev-snp`: `/dev/sev-guest`, on kernels before 6.7;
  6. `insecure`, said on stderr. Only where none of the above is there: what is there and does not
     work is an error.

`auto` never takes `tpm`, nor `azure-vm`, which is found through a TPM. A TPM is in most machines,
asking one changes it (PCR 11), and it vouches for what was booted, not that the machine's owner
cannot read memory: whoever wants that names it.

Two of `HARDWARE_FORMATS` cannot be chosen. `psa`: TrustZone has no attestation interface in Linux;
a PSA token comes from a secure partition's own service. `azure-maa`: Microsoft's service makes it
from evidence, by network.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fedenclave.enclave.attesters import (
    confidential_space,
    configfs_tsm,
    gramine,
    nitro,
    sev_guest,
    tpm,
)
from fedenclave.enclave.attesters.attester import AttestationUnavailable, Attester, unavailable
from fedenclave.enclave.attesters.azure_vm import AzureVmAttester
from fedenclave.enclave.attesters.confidential_space import ConfidentialSpaceAttester
from fedenclave.enclave.attesters.configfs_tsm import TsmAttester, registered_format
from fedenclave.enclave.attesters.gramine import GramineAttester
from fedenclave.enclave.attesters.insecure import InsecureAttester
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.nitro import NitroAttester
from fedenclave.enclave.attesters.sev_guest import SevGuestAttester
from fedenclave.enclave.attesters.tpm import TpmAttester
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import HARDWARE_FORMATS, INSECURE

AUTO = "auto"
_NOT_HERE = ("azure-maa", "psa")
CHOICES = (AUTO, INSECURE, *(name for name in HARDWARE_FORMATS if name not in _NOT_HERE))
_WITHOUT_PATH = (AUTO, INSECURE)
TDX_DEVICE = "/dev/tdx_guest"
_NO_HARDWARE = (
    "insecure: no TEE is found on this machine: development evidence, which no hardware vouches for"
)


def choose(
    choice: str, *, measurement: Digest, protections: Sequence[str], kernel: Kernel
) -> Attester:
    """Return the attester that `choice` names.

    Args:
        choice: one of `CHOICES`, perhaps with a path.
        measurement: what this process measured of itself, for where no hardware measures it.
        protections: the hardening that holds, for development evidence.
        kernel: this machine's.

    Raises:
        AttestationUnavailable: there is no such choice, or it is seen already that it gives none.
    """
    name, colon, path = choice.partition(":")
    if name not in CHOICES or (colon and (name in _WITHOUT_PATH or not path.startswith("/"))):
        raise AttestationUnavailable(
            f"tee is {choice[:80]!a}, want one of: {', '.join(CHOICES)}",
            hint="all but auto and insecure may be followed by `:` and an absolute path",
        )
    with unavailable("see which TEE this is", hint="run as root"):
        if name == AUTO:
            name = _found(kernel)
            if name == INSECURE:
                print(_NO_HARDWARE, file=sys.stderr, flush=True)
        if name == INSECURE:
            return InsecureAttester(measurement, protections)
        return _named(name, path, measurement, kernel)


def _found(kernel: Kernel) -> str:
    """Return the name of the hardware that is there, or `insecure`; OSError where it is unclear."""
    for name, sign in (
        ("sgx", f"{gramine.FOLDER}/{gramine.TYPE}"),
        ("nitro", nitro.DEVICE),
        ("confidential-space", confidential_space.SOCKET),
    ):
        if kernel.exists(kernel.path(sign)):
            return name
    reports = kernel.path(configfs_tsm.REPORTS)
    if kernel.is_folder(reports) and (registered := registered_format(kernel, reports)):
        return registered
    if kernel.exists(kernel.path(sev_guest.DEVICE)):
        return "sev-snp"
    if kernel.exists(kernel.path(TDX_DEVICE)):
        raise AttestationUnavailable(
            "this is a TDX guest, and nothing here makes a quote", hint=configfs_tsm.HINT
        )
    return INSECURE


def _named(name: str, given: str, measurement: Digest, kernel: Kernel) -> Attester:
    """Return the attester of a format, at the path that was given or at its usual one."""

    def path(usual: str) -> Path:
        return kernel.path(given or usual)

    match name:
        case "sgx":
            return GramineAttester(kernel, path(gramine.FOLDER))
        case "nitro":
            return NitroAttester(kernel, path(nitro.DEVICE))
        case "confidential-space":
            return ConfidentialSpaceAttester(path(confidential_space.SOCKET))
        case "azure-vm":
            return AzureVmAttester(path(tpm.DEVICE), measurement)
        case "tpm":
            return TpmAttester(kernel, path(tpm.DEVICE), measurement)
        case "sev-snp" if not kernel.is_folder(path(configfs_tsm.REPORTS)):
            return SevGuestAttester(kernel, path(sev_guest.DEVICE))
        case _:
            return TsmAttester(kernel, path(configfs_tsm.REPORTS), name)
