"""What a policy pins of an SEV-SNP machine and guest, as read from TOML.

Used by every format that carries a report: each puts `pins_template` into its own template, and
calls `read_pins` on its own table.

Rules: every key must be there; accepting everything is written `["any"]` or `"any"`; a product
without a floor in `min_tcb` is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedenclave.attestation.amd.flags import GUEST_POLICY, PLATFORM, Wish, read_wishes
from fedenclave.attestation.amd.products import LINES, Product
from fedenclave.attestation.amd.report import VERSIONS, SigningKey
from fedenclave.attestation.amd.tcb import Tcb
from fedenclave.attestation.pins import (
    take_hex,
    take_hexes,
    take_hexes_or_any,
    take_texts_or_any,
)
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

DEBUG, MIGRATION_AGENT, MASKED_CHIP_ID = "debug", "migration-agent", "masked-chip-id"
EXCEPTIONS = frozenset({DEBUG, MIGRATION_AGENT, MASKED_CHIP_ID})
_VERSION = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,3}))?")
_KINDS = {"vcek": SigningKey.VCEK, "vlek": SigningKey.VLEK}

_TEMPLATE = """\
# SHA-384 of the guest's first memory, 96 digits each: compute it from the image that you built
# (for example with sev-snp-measure), for each number of vCPUs; do not copy it from a report.
measurements = ["{zeros96}"]
# What the host handed to the guest at its launch, 64 digits; ["any"] if you measure all you use.
host_data = ["any"]
# SHA-384 of the key that signed the ID block, and of its author's, 96 digits; zeros: there is none.
id_key_digests = ["any"]
author_key_digests = ["any"]
# The ID block's version number of the guest must be at least this; 0 without an ID block.
min_guest_svn = 0
# Privilege level that asked for the report: 0, unless a paravisor or SVSM holds 0 and you trust it.
vmpl = 0
# Reports of version 3 and later say which processor they are from.
min_report_version = 3
# Whose keys may sign reports: "vcek" is of one chip, "vlek" of a cloud provider (AWS).
signing_keys = ["vcek"]
# Chips that you accept: 128 digits (16 from Turin on), as `fedenclave attest inspect` shows them.
chip_ids = ["any"]
# Providers whose vlek you accept, for example "CN=cc-us-east-2.amazonaws.com"; [] without "vlek".
csp_ids = []
# "required": the bundle must hold AMD's revocation list; "none": nobody looks whether AMD has
# revoked the authority above the key.
crl = "required"
# Least firmware, running and committed (the host cannot go back below what is committed).
min_firmware = "1.55.29"
# Least ABI that the guest's own policy demands of firmware; "0.0" if your launch sets none.
min_policy_abi = "0.0"
# Bits of the mitigation vectors (reports of version 5) that must be 1 at launch and now, as a
# number of 16 digits; zeros demand none.
mitigations = "0000000000000000"
# What the guest's policy allows its host, set at launch: "required", "forbidden" or "any".
guest_policy.smt = "any"
guest_policy.single_socket = "any"
guest_policy.cxl = "forbidden"
guest_policy.mem_aes_256_xts = "any"
guest_policy.rapl_disabled = "any"
guest_policy.ciphertext_hiding = "any"
guest_policy.page_swap_disabled = "any"
# What the platform says of itself. alias_check_complete is AMD's answer to BadRAM (AMD-SB-3015).
platform.smt = "any"
platform.tsme = "any"
platform.ecc = "any"
platform.rapl_disabled = "any"
platform.ciphertext_hiding = "any"
platform.alias_check_complete = "required"
platform.iommu_write_safe = "any"
platform.tio = "forbidden"
# Least security versions of each product line that you accept, for the TCB at the guest's launch,
# now, committed and reported. AMD's security bulletins say which are current; these were in 2025.
# A line that is not listed is refused.
min_tcb.milan = {{ bootloader = 4, tee = 0, snp = 24, microcode = 219 }}
min_tcb.genoa = {{ bootloader = 10, tee = 0, snp = 25, microcode = 84 }}
# min_tcb.turin = {{ fmc = 0, bootloader = 0, tee = 0, snp = 0, microcode = 0 }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnpPins:
    """A policy's pins; None wherever it says `["any"]`."""

    measurements: tuple[bytes, ...]
    host_data: tuple[bytes, ...] | None
    id_key_digests: tuple[bytes, ...] | None
    author_key_digests: tuple[bytes, ...] | None
    min_guest_svn: int
    vmpl: int
    min_report_version: int
    signing_keys: frozenset[SigningKey]
    chip_ids: tuple[bytes, ...] | None
    csp_ids: tuple[str, ...] | None
    crl_required: bool
    min_firmware: tuple[int, int, int]
    min_policy_abi: tuple[int, int]
    mitigations: int
    guest_policy: Mapping[str, Wish]
    platform: Mapping[str, Wish]
    min_tcb: Mapping[Product, Tcb]


def pins_template() -> str:
    """Return the pins in TOML, commented, without a header: they may stand in any table."""
    return _TEMPLATE.format(zeros96="0" * 96)


def read_pins(table: Table) -> SnpPins:
    """Take the pins from `table`; other keys in it are left to the caller.

    Raises:
        ConfigurationError: one is missing or wrong.
    """
    signing_keys = _take_signing_keys(table)
    return SnpPins(
        measurements=take_hexes(table, "measurements", sizes=(48,)),
        host_data=take_hexes_or_any(table, "host_data", sizes=(32,)),
        id_key_digests=take_hexes_or_any(table, "id_key_digests", sizes=(48,)),
        author_key_digests=take_hexes_or_any(table, "author_key_digests", sizes=(48,)),
        min_guest_svn=table.take_int("min_guest_svn", low=0, high=2**32 - 1),
        vmpl=table.take_int("vmpl", low=0, high=3),
        min_report_version=table.take_int(
            "min_report_version", low=min(VERSIONS), high=max(VERSIONS)
        ),
        signing_keys=signing_keys,
        chip_ids=take_hexes_or_any(table, "chip_ids", sizes=(64, 8)),
        csp_ids=_take_csp_ids(table, signing_keys),
        crl_required=table.take_choice("crl", ("required", "none")) == "required",
        min_firmware=_take_firmware(table),
        min_policy_abi=_take_abi(table),
        mitigations=int.from_bytes(take_hex(table, "mitigations", sizes=(8,)), "big"),
        guest_policy=read_wishes(table.take_table("guest_policy"), GUEST_POLICY),
        platform=read_wishes(table.take_table("platform"), PLATFORM),
        min_tcb=_take_floors(table.take_table("min_tcb")),
    )


def _take_signing_keys(table: Table) -> frozenset[SigningKey]:
    names = table.take_texts("signing_keys")
    if not names or not set(names) <= set(_KINDS):
        raise ConfigurationError(
            f'{table.where} signing_keys is {", ".join(names)[:100] or "empty"}, want "vcek", '
            '"vlek", or both'
        )
    return frozenset(_KINDS[name] for name in names)


def _take_csp_ids(table: Table, signing_keys: frozenset[SigningKey]) -> tuple[str, ...] | None:
    ids = take_texts_or_any(table, "csp_ids", may_be_empty=True)
    if ids is None:
        return None
    if not all(ids) or bool(ids) != (SigningKey.VLEK in signing_keys):
        raise ConfigurationError(
            f"{table.where} csp_ids has {len(ids)} ids, want some if signing_keys has vlek, else "
            "none",
            hint='write ["any"] to accept every provider\'s keys',
        )
    return ids


def _take_version(table: Table, key: str, parts: int) -> tuple[int, ...]:
    text = table.take_text(key)
    match = _VERSION.fullmatch(text)
    numbers = tuple(int(n) for n in match.groups() if n is not None) if match else ()
    if len(numbers) != parts or max(numbers) > 0xFF:
        raise ConfigurationError(
            f"{table.where} {key} is {text[:40]!r}, want {'.'.join(['0-255'] * parts)}"
        )
    return numbers


def _take_firmware(table: Table) -> tuple[int, int, int]:
    major, minor, build = _take_version(table, "min_firmware", 3)
    return major, minor, build


def _take_abi(table: Table) -> tuple[int, int]:
    major, minor = _take_version(table, "min_policy_abi", 2)
    return major, minor


def _take_floors(table: Table) -> dict[Product, Tcb]:
    floors = {}
    for product in Product:
        if product not in table:
            continue
        values = table.take_table(product)
        versions = {
            name: values.take_int(name, low=0, high=0xFF) for name in LINES[product].components
        }
        values.finish()
        floors[product] = Tcb(product=product, versions=versions)
    table.finish()
    if not floors:
        raise ConfigurationError(
            f"{table.where} is empty, want the floors of at least one product line",
            hint="it may hold " + ", ".join(Product),
        )
    return floors
