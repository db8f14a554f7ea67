"""The policy for Azure confidential VMs: pins of paravisor, vTPM and hardware, in TOML.

The hardware's pins are the tables of the formats sev-snp and tdx, without their `exceptions`: these
stand at the top, and count for the hardware too.

Source: as confidential_vm.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedenclave.attestation.amd.policy import EXCEPTIONS as SNP_EXCEPTIONS
from fedenclave.attestation.amd.policy import SnpPins, pins_template, read_pins
from fedenclave.attestation.azure.td_report import UNCHECKED_MAC
from fedenclave.attestation.intel import td_policy
from fedenclave.attestation.intel.td_policy import TdPins, take_td_pins
from fedenclave.attestation.pins import ANY, take_hexes, take_some_texts, take_texts_or_any
from fedenclave.attestation.tpm.policy import EXCEPTIONS as TPM_EXCEPTIONS
from fedenclave.attestation.tpm.policy import NONE, TpmPins, take_pcrs
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

SNP, TDX = "sev-snp", "tdx"
EXCEPTIONS = SNP_EXCEPTIONS | td_policy.EXCEPTIONS | TPM_EXCEPTIONS | {UNCHECKED_MAC}
FLAGS = ("console-enabled", "secure-boot", "tpm-enabled")
"""What every paravisor says of the machine; newer ones say more, such as `tpm-persisted`."""
_ZEROS = "00" * 32

TEMPLATE = f"""\
# Azure confidential VM: hardware report of its paravisor, and a quote by the paravisor's vTPM.
[attestation.azure-vm]
# Version of the paravisor's report header, 1 or 2: as `fedenclave attest inspect` shows it.
hcl_version = 2
# `vmUniqueId` of the machines that may run it; or ["any"].
vm_ids = ["any"]
# What `fedenclave measure` says of the image's code. It is extended once into PCR 11 of the vTPM,
# which was zero. ["none"] if the registers below pin the code otherwise.
measurements = ["{_ZEROS}"]
# What may pass although it is wrong; see the formats sev-snp and tdx for most names.
# "unchecked-mac": a TDREPORT whose MAC was not blanked. "sept-ve": Azure starts its TDX machines
# without septve-disable, so their policies need it, and the result is a warning.
# "unmeasured-boot": registers below that do not say what was started.
exceptions = []

# `vm-configuration` as the paravisor says it: every flag that is in it must be here, with its
# value, or "any"; older paravisors do not say tpm-persisted, and the policy then leaves it out.
[attestation.azure-vm.vm-configuration]
console-enabled = "any"
secure-boot = true
tpm-enabled = true
tpm-persisted = "any"

# Registers of the vTPM's SHA-256 bank that must be quoted, with their values; or ["any"].
# 4: boot loader and kernel, 7: secure boot, 8 and 9: command line and initial file system (8 is
# zero where GRUB is not used). Leave none of them out: what is not pinned, the operator chooses.
# 4 must have a value, as no other register says what was started; 16 and 23 must have none.
[attestation.azure-vm.pcrs]
4 = ["{_ZEROS}"]
7 = ["{_ZEROS}"]
8 = ["{_ZEROS}"]
9 = ["{_ZEROS}"]

# Keep the table of the hardware that you use, and delete the other.
[attestation.azure-vm.sev-snp]
{pins_template()}
[attestation.azure-vm.tdx]
{td_policy.TEMPLATE}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The whole table; None is `["any"]`, for `snp` and `tdx` that the policy has no such table.

    `configuration` has for each flag its value, None for any.
    """

    hcl_version: int
    vm_ids: tuple[str, ...] | None
    configuration: Mapping[str, bool | None]
    tpm: TpmPins
    snp: SnpPins | None
    tdx: TdPins | None

    @property
    def hardware(self) -> tuple[str, ...]:
        """Names of the tables that are there."""
        named = ((SNP, self.snp), (TDX, self.tdx))
        return tuple(name for name, pins in named if pins is not None)


def read_policy(table: Table) -> Pins:
    """Return the pins of the table `[attestation.azure-vm]`.

    Raises:
        ConfigurationError: one is missing or wrong, or no hardware is pinned.
    """
    version = table.take_int("hcl_version", low=1, high=2)
    vm_ids = take_texts_or_any(table, "vm_ids")
    measurements = _take_measurements(table)
    pcrs = take_pcrs(table)
    configuration = _take_configuration(table)
    snp, tdx = _take_hardware(table)
    if snp is None and tdx is None:
        raise ConfigurationError(f"{table.where} has neither a table [{SNP}] nor [{TDX}]")
    return Pins(
        hcl_version=version,
        vm_ids=vm_ids,
        configuration=configuration,
        # The paravisor vouches for the key, so nothing of a TPM's own policy about keys is used.
        tpm=TpmPins(
            aks=None,
            activation=None,
            measurements=measurements,
            firmware_versions=None,
            secure_boot=False,
            boot_applications=None,
            counter_name=None,
            pcrs=pcrs,
        ),
        snp=snp,
        tdx=tdx,
    )


def _take_hardware(table: Table) -> tuple[SnpPins | None, TdPins | None]:
    given = table.names()
    snp: SnpPins | None = None
    tdx: TdPins | None = None
    if SNP in given:
        inner = table.take_table(SNP)
        snp = read_pins(inner)
        inner.finish()
    if TDX in given:
        inner = table.take_table(TDX)
        tdx = take_td_pins(inner)
        inner.finish()
        if tdx.rtmrs.need_log:
            raise ConfigurationError(
                f"{inner.where} pins events, and Azure's evidence has no event log",
                hint="Azure's TDs do not extend rtmrs; the vTPM's registers take their place",
            )
    return snp, tdx


def _take_measurements(table: Table) -> tuple[bytes, ...] | None:
    texts = take_some_texts(table, "measurements")
    if texts == (NONE,):
        return None
    again = Table({"measurements": list(texts)}, table.where)
    return take_hexes(again, "measurements", sizes=(32,))


def _take_configuration(table: Table) -> dict[str, bool | None]:
    wanted: dict[str, bool | None] = {}
    given = table.take_plain("vm-configuration")
    missing = [name for name in FLAGS if name not in given]
    if missing:
        raise ConfigurationError(
            f"{table.where} [vm-configuration] has no {' and no '.join(missing)}",
            hint=f'nothing has a default: say true, false or "{ANY}"',
        )
    for key, value in given.items():
        if not isinstance(value, bool) and value != ANY:
            raise ConfigurationError(
                f"{table.where} [vm-configuration] {key[:40]} is of another type, want true, "
                f'false or "{ANY}"'
            )
        wanted[key] = None if value == ANY else value
    return wanted
