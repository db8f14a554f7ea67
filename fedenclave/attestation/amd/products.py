"""AMD's product lines with SEV-SNP: how each is recognised, and how it counts its own versions.

A product that is not in this file is refused: its TCB_VERSION may be laid out in another way, and
its root is not pinned.

Sources: AMD 56860 (SEV-SNP Firmware ABI) revision 1.58, section 2.2, tables 3 and 4 (TCB_VERSION)
and table 23 (CPUID fields of the report); AMD 57230 (VCEK Certificate and KDS Interface), tables
10 and 11 (certificate extensions by structVersion, hwID).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Product(StrEnum):
    """A product line, as policies and bundles write it."""

    MILAN = "milan"
    GENOA = "genoa"
    TURIN = "turin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is particular to one product line.

    Attributes:
        kds_name: the line's name in AMD's key distribution service.
        certificate_names: the product names in its certificates, without `-` and stepping.
        family: CPUID family.
        models: CPUID models.
        struct_version: of the extensions in its certificates.
        hwid_size: first bytes of CHIP_ID that are in the chip's certificates.
        components: byte of TCB_VERSION in which each security version is.
        tcb_oids: last arcs of the extension that certifies each byte of TCB_VERSION.
    """

    kds_name: str
    certificate_names: frozenset[str]
    family: int
    models: tuple[range, ...]
    struct_version: int
    hwid_size: int
    components: Mapping[str, int]
    tcb_oids: tuple[str, ...]


_UNTIL_GENOA = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
_FROM_TURIN = {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}
_OIDS_0 = ("3.1", "3.2", "3.4", "3.5", "3.6", "3.7", "3.3", "3.8")
_OIDS_1 = ("3.9", "3.1", "3.2", "3.3", "3.5", "3.6", "3.7", "3.8")

LINES: Mapping[Product, Line] = {
    Product.MILAN: Line(
        kds_name="Milan",
        certificate_names=frozenset({"Milan"}),
        family=0x19,
        models=(range(0x00, 0x10),),
        struct_version=0,
        hwid_size=64,
        components=_UNTIL_GENOA,
        tcb_oids=_OIDS_0,
    ),
    Product.GENOA: Line(
        kds_name="Genoa",
        # Bergamo and Siena are of this line: same root, same layout.
        certificate_names=frozenset({"Genoa", "Bergamo", "Siena"}),
        family=0x19,
        models=(range(0x10, 0x20), range(0xA0, 0xB0)),
        struct_version=0,
        hwid_size=64,
        components=_UNTIL_GENOA,
        tcb_oids=_OIDS_0,
    ),
    Product.TURIN: Line(
        kds_name="Turin",
        certificate_names=frozenset({"Turin"}),
        family=0x1A,
        models=(range(0x00, 0x12),),
        struct_version=1,
        hwid_size=8,
        components=_FROM_TURIN,
        tcb_oids=_OIDS_1,
    ),
}

LEVELS = frozenset(f"{product}.{name}" for product in Product for name in LINES[product].components)


def product_of_cpu(family: int, model: int) -> Product | None:
    """Return the product line with these CPUID values; None if it is not in this file."""
    for product, line in LINES.items():
        if line.family == family and any(model in models for models in line.models):
            return product
    return None


def product_of_name(name: str) -> Product | None:
    """Return the line of a certificate's product name, such as `Milan-B0`; None if unknown."""
    for product, line in LINES.items():
        if name.partition("-")[0] in line.certificate_names:
            return product
    return None
