"""The policy for Azure Attestation tokens: pins per attestation type, and their tables in TOML.

Source: Microsoft Learn, "Azure Attestation claim sets" (2025-04), "Azure Attestation EAT profile
for TDX" (2023-10), "Examples of an attestation token" (2022-06).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from fedenclave.attestation.pins import (
    take_hexes,
    take_hexes_or_any,
    take_some_texts,
    take_texts_or_any,
)
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

SGX, TDX, SNP, VM = "sgx", "tdxvm", "sevsnpvm", "azurevm"
TYPES = (SGX, TDX, SNP, VM)
"""Values of `x-ms-attestation-type`; `tpm` and `vbs` vouch for no memory encryption."""
REPORT_DATA, RUNTIME_DATA, USER_DATA = "report-data", "runtime-data", "user-data"
TDX_REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
TDX_OTHERS = ("mrseam", "mrconfigid", "mrowner", "mrownerconfig")
SNP_SVNS = ("bootloader", "tee", "snpfw", "microcode", "guest")
_ISSUER = re.compile(r"https://([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}")
_POLICY_HASH = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SgxPins:
    """What is accepted of an enclave; None is `["any"]`."""

    binding: str
    mrenclaves: tuple[bytes, ...] | None
    mrsigners: tuple[bytes, ...] | None
    product_id: int
    minimum_svn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxPins:
    """What is accepted of a trust domain, its other registers by name.

    `binding` is empty where an azurevm token has a nonce.
    """

    binding: str
    mrtd: tuple[bytes, ...]
    others: dict[str, tuple[bytes, ...] | None]
    td_attributes: tuple[bytes, ...] | None
    xfams: tuple[bytes, ...] | None
    minimum_seamsvn: int
    compliance: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpPins:
    """What is accepted of an SEV-SNP guest. `binding` as in `TdxPins`."""

    binding: str
    launch_measurements: tuple[bytes, ...] | None
    host_data: tuple[bytes, ...] | None
    id_key_digests: tuple[bytes, ...] | None
    author_key_digests: tuple[bytes, ...] | None
    vmpl: int
    smt: bool
    minimum_svns: dict[str, int]
    compliance: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VmPins:
    """What is accepted of a virtual machine whose boot Azure Attestation has judged."""

    os_types: tuple[str, ...] | None
    vm_ids: tuple[str, ...] | None
    tee: dict[str, TdxPins | SnpPins]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The whole table; `types` holds the pins of each accepted attestation type."""

    issuers: tuple[str, ...]
    policy_hashes: tuple[str, ...] | None
    types: dict[str, SgxPins | TdxPins | SnpPins | VmPins]


def read_policy(table: Table) -> Pins:
    """Return the pins of the table `[attestation.azure-maa]`.

    Raises:
        ConfigurationError: one is missing or wrong, or no attestation type has a table.
    """
    issuers = take_some_texts(table, "issuers")
    for issuer in issuers:
        if not _ISSUER.fullmatch(issuer):
            raise ConfigurationError(
                f"{table.where} issuers has {issuer[:100]!r}, want https:// and a host's name",
                hint="no port, path or final slash: it is compared with the token's `iss`",
            )
    readers: dict[str, Callable[[Table], SgxPins | TdxPins | SnpPins | VmPins]] = {
        SGX: _read_sgx,
        TDX: _read_tdx,
        SNP: _read_snp,
        VM: _read_vm,
    }
    given = [name for name in TYPES if name in table]
    hashes = _read_policy_hashes(table)
    types = {name: readers[name](table.take_table(name)) for name in given}
    if not types:
        raise ConfigurationError(
            f"{table.where} has no table of an attestation type, want {' or '.join(TYPES)}"
        )
    return Pins(issuers=issuers, policy_hashes=hashes, types=types)


def host_of(issuer: str) -> str:
    """Return the host's name of an issuer that the policy pins."""
    return issuer.removeprefix("https://")


def _read_policy_hashes(table: Table) -> tuple[str, ...] | None:
    hashes = take_texts_or_any(table, "policy_hashes")
    for text in hashes or ():
        if not _POLICY_HASH.fullmatch(text):
            raise ConfigurationError(
                f"{table.where} policy_hashes has {text[:80]!r}, want 43 characters of base64url"
            )
    return hashes


def _read_sgx(table: Table) -> SgxPins:
    pins = SgxPins(
        binding=table.take_choice("binding", (REPORT_DATA, RUNTIME_DATA)),
        mrenclaves=take_hexes_or_any(table, "mrenclaves", sizes=(32,)),
        mrsigners=take_hexes_or_any(table, "mrsigners", sizes=(32,)),
        product_id=table.take_int("product_id", low=0, high=65535),
        minimum_svn=table.take_int("minimum_svn", low=0, high=65535),
    )
    if pins.mrenclaves is None and pins.mrsigners is None:
        raise ConfigurationError(
            f"{table.where} accepts any mrenclaves and any mrsigners, so any enclave at all",
            hint="pin one of them",
        )
    table.finish()
    return pins


def _read_tdx(table: Table, *, bound: bool = True) -> TdxPins:
    pins = TdxPins(
        binding=_take_binding(table) if bound else "",
        # What came after it is measured by code that only MRTD vouches for.
        mrtd=take_hexes(table, "mrtd", sizes=(48,)),
        others={
            name: take_hexes_or_any(table, name, sizes=(48,))
            for name in (*TDX_REGISTERS[1:], *TDX_OTHERS)
        },
        td_attributes=take_hexes_or_any(table, "td_attributes", sizes=(8,)),
        xfams=take_hexes_or_any(table, "xfams", sizes=(8,)),
        minimum_seamsvn=table.take_int("minimum_seamsvn", low=0, high=65535),
        compliance=take_texts_or_any(table, "compliance"),
    )
    table.finish()
    return pins


def _read_snp(table: Table, *, bound: bool = True) -> SnpPins:
    pins = SnpPins(
        binding=_take_binding(table) if bound else "",
        launch_measurements=take_hexes_or_any(table, "launch_measurements", sizes=(48,)),
        host_data=take_hexes_or_any(table, "host_data", sizes=(32,)),
        id_key_digests=take_hexes_or_any(table, "id_key_digests", sizes=(48,)),
        author_key_digests=take_hexes_or_any(table, "author_key_digests", sizes=(48,)),
        vmpl=table.take_int("vmpl", low=0, high=3),
        smt=table.take_bool("smt"),
        minimum_svns={
            name: table.take_int(f"minimum_{name}_svn", low=0, high=2**32 - 1) for name in SNP_SVNS
        },
        compliance=take_texts_or_any(table, "compliance"),
    )
    if pins.launch_measurements is None and pins.id_key_digests is None:
        raise ConfigurationError(
            f"{table.where} accepts any launch_measurements and any id_key_digests, so any guest",
            hint="pin one of them",
        )
    table.finish()
    return pins


def _read_vm(table: Table) -> VmPins:
    os_types, vm_ids = (take_texts_or_any(table, name) for name in ("os_types", "vm_ids"))
    tee: dict[str, TdxPins | SnpPins] = {}
    if TDX in table:
        tee[TDX] = _read_tdx(table.take_table(TDX), bound=False)
    if SNP in table:
        tee[SNP] = _read_snp(table.take_table(SNP), bound=False)
    if not tee:
        raise ConfigurationError(
            f"{table.where} has neither a table [{TDX}] nor [{SNP}]",
            hint="a virtual machine without one of them keeps nothing from its operator",
        )
    table.finish()
    return VmPins(os_types=os_types, vm_ids=vm_ids, tee=tee)


def _take_binding(table: Table) -> str:
    return table.take_choice("binding", (REPORT_DATA, RUNTIME_DATA, USER_DATA))


_ZEROS_32, _ZEROS_48 = "0" * 64, "0" * 96
_TDX_TEMPLATE = f"""\
# Measurements: of the first code (on Azure's own machines its paravisor); then of what that code
# measured, or ["any"], one by one.
mrtd = ["{_ZEROS_48}"]
rtmr0 = ["any"]
rtmr1 = ["any"]
rtmr2 = ["any"]
rtmr3 = ["any"]
# Intel's TDX module, and fields of the machine's owner; or ["any"].
mrseam = ["any"]
mrconfigid = ["{_ZEROS_48}"]
mrowner = ["{_ZEROS_48}"]
mrownerconfig = ["{_ZEROS_48}"]
td_attributes = ["0000000000000000"]
xfams = ["any"]
minimum_seamsvn = 3
# `x-ms-compliance-status`: "azure-compliant-cvm" is what a confidential VM of Azure has; or "any".
compliance = ["azure-compliant-cvm"]
"""
_SNP_TEMPLATE = f"""\
# Measurement of what was loaded at launch (Azure's paravisor, or your own image).
launch_measurements = ["{_ZEROS_48}"]
# Fields that identify policy and signer of the image; or ["any"].
host_data = ["{_ZEROS_32}"]
id_key_digests = ["any"]
author_key_digests = ["any"]
vmpl = 0
# Whether two threads of a core may be the machine's.
smt = true
# Least versions of the firmware.
minimum_bootloader_svn = 3
minimum_tee_svn = 0
minimum_snpfw_svn = 8
minimum_microcode_svn = 115
minimum_guest_svn = 0
compliance = ["azure-compliant-cvm"]
"""
TEMPLATE = f"""\
# Microsoft Azure Attestation: a token in which Microsoft says what runs in which TEE.
[attestation.azure-maa]
# The attestation provider's address, exactly as `iss` of its tokens.
issuers = ["https://sharedweu.weu.attest.azure.net"]
# `x-ms-policy-hash` of the provider's policy; or ["any"].
policy_hashes = ["any"]
# "debug": debug mode, or boot with debuggers. "migration": an SNP guest that may be migrated.
# "boot-keys", "test-signing": a machine that trusts other keys at boot, or test signatures.
# "tcb-out-of-date" and others (attestation/google/README.md has all): a TDX machine that is not up
# to date.
# "unattested-guest": a token by which the hardware vouches for Azure's paravisor alone, so that any
# program in anybody's machine on Azure can get one for any nonce. binding = "user-data" and the
# type azurevm need it. The result is a warning; the format azure-vm also says which code runs.
exceptions = []

# Keep the tables of the types that you use, and delete the others.
[attestation.azure-maa.sgx]
# "report-data": the quote's report data is the binding. "runtime-data": it is the SHA-256 of the
# binding, which was sent to the service as runtime data.
binding = "report-data"
mrenclaves = ["{_ZEROS_32}"]
mrsigners = ["any"]
product_id = 0
minimum_svn = 0

[attestation.azure-maa.tdxvm]
# As for sgx, or "user-data": the binding is in the user data of Azure's paravisor. Then the
# measurement is the paravisor's, and the exception "unattested-guest" is needed.
binding = "user-data"
{_TDX_TEMPLATE}
[attestation.azure-maa.sevsnpvm]
binding = "user-data"
{_SNP_TEMPLATE}
# Azure's guest attestation of a whole virtual machine; its binding is the client payload's nonce.
# No register is in the token: the exception "unattested-guest" is needed.
[attestation.azure-maa.azurevm]
os_types = ["Linux"]
vm_ids = ["any"]

[attestation.azure-maa.azurevm.sevsnpvm]
{_SNP_TEMPLATE}
[attestation.azure-maa.azurevm.tdxvm]
{_TDX_TEMPLATE}"""
