"""Where AMD publishes what a report needs, and by which name a bundle holds it.

Only names: nothing is fetched here.

    amd/<product>/vcek/<chip id>-<tcb>.der   the VCEK certificate of one chip at one TCB_VERSION
    amd/<product>/vcek.crl                   revoked ASKs, signed by the ARK
    amd/<product>/vlek.crl                   revoked ASVKs, signed by the ARK

<chip id> is the hwID in lower-case hex (128 digits, 16 from Turin on), <tcb> the 8 bytes of
REPORTED_TCB in the report's order (16 digits). A VLEK certificate has no place: only the cloud
provider may fetch it, so it must come with the evidence.

Source: AMD 57230 (VCEK Certificate and KDS Interface), chapter 4.
"""

from __future__ import annotations

from fedenclave.attestation.amd.products import LINES, Product, product_of_cpu
from fedenclave.attestation.amd.report import Report, SigningKey
from fedenclave.attestation.amd.tcb import parse_tcb
from fedenclave.protocol.errors import MalformedMessage

KDS = "https://kdsintf.amd.com"
_PARAMETERS = {
    "fmc": "fmcSPL",
    "bootloader": "blSPL",
    "tee": "teeSPL",
    "snp": "snpSPL",
    "microcode": "ucodeSPL",
}


def crl_name(product: Product, kind: SigningKey) -> str:
    """Return the name in a bundle of the list of revoked ASKs or ASVKs."""
    return f"amd/{product}/{kind.name.lower()}.crl"


def crl_url(product: Product, kind: SigningKey) -> str:
    """Return where AMD publishes that list."""
    return f"{KDS}/{kind.name.lower()}/v1/{LINES[product].kds_name}/crl"


def hwid(report: Report, product: Product) -> bytes:
    """Return the part of the report's chip id that is in certificates."""
    return report.chip_id[: LINES[product].hwid_size]


def vcek_name(report: Report, product: Product) -> str:
    """Return the name in a bundle of the certificate of the key that signed `report`."""
    return f"amd/{product}/vcek/{hwid(report, product).hex()}-{report.reported_tcb.hex()}.der"


def vcek_url(report: Report, product: Product) -> str:
    """Return where AMD publishes that certificate.

    Raises:
        MalformedMessage: the report's TCB_VERSION is not of this product.
    """
    tcb = parse_tcb(report.reported_tcb, product, "reported tcb")
    query = "&".join(f"{_PARAMETERS[name]}={version}" for name, version in tcb.versions.items())
    chip = hwid(report, product).hex()
    return f"{KDS}/vcek/v1/{LINES[product].kds_name}/{chip}?{query}"


def possible_products(report: Report) -> tuple[Product, ...]:
    """Return the products that the report may be of; version 2 does not say, but for the TCB."""
    if report.cpu is not None:
        product = product_of_cpu(report.cpu.family, report.cpu.model)
        return () if product is None else (product,)
    return tuple(product for product in Product if _fits(report.reported_tcb, product))


def _fits(tcb: bytes, product: Product) -> bool:
    try:
        parse_tcb(tcb, product, "reported tcb")
    except MalformedMessage:
        return False
    return True


def collateral_of(report: Report) -> dict[str, str]:
    """Return what a verifier of `report` needs besides it: URLs by name in the bundle.

    Raises:
        MalformedMessage: the report's TCB_VERSION is not of its product.
    """
    wanted, kind = {}, report.signing_key
    for product in possible_products(report):
        if kind is not SigningKey.NONE:
            wanted[crl_name(product, kind)] = crl_url(product, kind)
        if kind is SigningKey.VCEK and not report.chip_id_masked:
            wanted[vcek_name(report, product)] = vcek_url(report, product)
    return wanted
