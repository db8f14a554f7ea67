"""Real SEV-SNP reports: Milan, Genoa, VLEK; every row of SOURCES.md that has a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fedenclave.attestation.amd.sev_snp import FORMAT
from fedenclave.attestation.format import Parts
from tests.attestation.cases import Case

_TRUSTEE, _VIRTEE, _GOSEV = "sev-snp/trustee", "sev-snp/virtee", "sev-snp/gosev-milan-v2"
_ZEROS96 = "0" * 96
_POLICY = """\
exceptions = {exceptions}
measurements = ["{measurement}"]
host_data = ["{host_data}"]
id_key_digests = ["{id_key}"]
author_key_digests = ["{zeros}"]
min_guest_svn = {guest_svn}
vmpl = {vmpl}
min_report_version = {version}
signing_keys = {signing_keys}
chip_ids = {chip_ids}
csp_ids = {csp_ids}
crl = "{crl}"
min_firmware = "{firmware}"
min_policy_abi = "{abi}"
mitigations = "{mitigations}"
guest_policy.smt = "required"
guest_policy.single_socket = "forbidden"
guest_policy.cxl = "forbidden"
guest_policy.mem_aes_256_xts = "forbidden"
guest_policy.rapl_disabled = "forbidden"
guest_policy.ciphertext_hiding = "forbidden"
guest_policy.page_swap_disabled = "forbidden"
platform.smt = "required"
platform.tsme = "any"
platform.ecc = "any"
platform.rapl_disabled = "forbidden"
platform.ciphertext_hiding = "any"
platform.alias_check_complete = "{alias_check}"
platform.iommu_write_safe = "forbidden"
platform.tio = "forbidden"
{min_tcb}
"""


def policy(**changes: str) -> str:
    values = {
        "exceptions": "[]",
        "host_data": "0" * 64,
        "id_key": _ZEROS96,
        "zeros": _ZEROS96,
        "guest_svn": "0",
        "vmpl": "0",
        "version": "2",
        "signing_keys": '["vcek"]',
        "chip_ids": '["any"]',
        "csp_ids": "[]",
        "crl": "none",
        "firmware": "1.49.3",
        "abi": "0.0",
        "mitigations": "0" * 16,
        "alias_check": "any",
        "min_tcb": "min_tcb.milan = { bootloader = 2, tee = 0, snp = 5, microcode = 68 }",
    }
    return _POLICY.format_map(values | changes)


def _files(report: str, certificate: str = "") -> Callable[[Path], Parts]:
    def parts(folder: Path) -> Parts:
        data = (folder / report).read_bytes()
        found = dict(FORMAT.recognise(data) or {"report": data})
        if certificate:
            found["certificates"] = (folder / certificate).read_bytes()
        return found

    return parts


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of a protobuf message's length-delimited fields."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 not in (0, 2):
            raise ValueError("another wire type")
        size = varint()
        if key & 7 == 2:
            if at + size > len(data):
                raise ValueError("field reaches beyond the message")
            yield key >> 3, data[at : at + size]
            at += size


def _certificates(data: bytes) -> list[bytes]:
    """Return every DER certificate in a protobuf message, however deep."""
    if data[:2] == b"\x30\x82" and int.from_bytes(data[2:4], "big") + 4 == len(data):
        return [data]
    try:
        return [found for _, value in _fields(data) for found in _certificates(value)]
    except (ValueError, IndexError):
        return []


def _oak_report(folder: Path, name: str) -> bytes:
    return (folder / f"sev-snp/oak/{name}_evidence.binarypb").read_bytes()[8 : 8 + 1184]


def _oak_vcek(folder: Path, name: str) -> bytes:
    endorsements = (folder / f"sev-snp/oak/{name}_endorsements.binarypb").read_bytes()
    return _certificates(endorsements)[0]


def _oak(name: str) -> Callable[[Path], Parts]:
    return lambda folder: {
        "report": _oak_report(folder, name),
        "certificates": _oak_vcek(folder, name),
    }


def _in_bundle(
    name: str, product: str, chip_id: str, tcb: str
) -> Callable[[Path], dict[str, bytes]]:
    return lambda folder: {f"amd/{product}/vcek/{chip_id}-{tcb}.der": _oak_vcek(folder, name)}


_TEST_REPORT = {
    "rows": (f"{_TRUSTEE}/test-report.bin",),
    "format": FORMAT,
    "policy": policy(
        measurement="a1f3930413247bb38cfc171579ea3c12d5fe4901f0c792f63fd75d98f1ef827c"
        "23500644e0e692e6be917f9050d3d38c",
        id_key="0356215882a825279a85b300b0b742931d113bf7e32dde2e50ffde7ec743ca49"
        "1ecdd7f336dc28a6e0b2bb57af7a44a3",
        guest_svn="4",
        firmware="1.52.4",
        abi="0.31",
        min_tcb="min_tcb.milan = { bootloader = 3, tee = 0, snp = 8, microcode = 115 }",
        chip_ids='["c38427a30d4c7af9d96f7a15b97269825a64cb76a2352ffd5d18115d89ad473f'
        '8e8c0bcd9a5d9286612bad4aadfb4426205a3b9e4fea82301135a170e477524e"]',
    ),
    "bound": "ec6c52d7533cc2c4f45be7849cf112ab82b2009fe7bd43e71ed08c14400ad7e2" + "00" * 32,
    "at": "2026-11-25",
}
_VLEK_MEASUREMENT = (
    "8922ebbdd00ec2c541f36a6e7a82a8773a7accb451ed67bc94e740dbe92c93c4"
    "e8c9af857f5ceeb5a493df2a570d7bf0"
)
_VLEK = {
    "signing_keys": '["vlek"]',
    "csp_ids": '["CN=cc-us-east-2.amazonaws.com"]',
    "vmpl": "1",
    "version": "3",
    "firmware": "1.55.29",
    "alias_check": "required",
    "min_tcb": "min_tcb.milan = { bootloader = 4, tee = 0, snp = 24, microcode = 217 }",
}
_VLEK_REPORT = {
    "rows": (f"{_TRUSTEE}/test-vlek-report.bin",),
    "format": FORMAT,
    "parts": _files(f"{_TRUSTEE}/test-vlek-report.bin", f"{_TRUSTEE}/test-vlek.der"),
    "bound": "819770b7e6ea6df8dd8fd4dd146b073c0bf4f3ce5b0977ecac486e3a05ed1bd5"
    "4e2a7ac1f5d1ca02e7d7d5ef9f73b8574fd9359e3a480d741a4478e8a7bc27ca",
}
_GOSEV_REPORT = {
    "rows": (f"{_GOSEV}/report.bin",),
    "format": FORMAT,
    "parts": _files(f"{_GOSEV}/report.bin", f"{_GOSEV}/vcek.der"),
    "bound": "0102030405" + "00" * 59,
    "at": "2026-11-25",
}
_GOSEV_MEASUREMENT = (
    "b07af9620f3b839b47996422ddec6058338951d984e312115131ea82705eaf5b"
    "6bdf8a9ece31a5a608eb0cf2e4872b01"
)
_RELEASE = (
    "195b01b74976a1faba13bd85eaf787958f0a46e6dddd45c5bdbf867352277784"
    "2b8057ae5d866b75416efb62012deaa3"
)
_STAGING = (
    "0a3c0fa3f1558a883660cb3f37491e6da05e3445dc0f517ab5f9b8f7be6dc2ae"
    "2fa46a23b501d66d1d7e24796d1c2e20"
)
_GENOA = (
    "c57729018b0a6fb90dc17bb138b0aa35e4401004283ff4a2c24d3739ff3750f5"
    "2384370e77b7032862a08c440a9bc4dc"
)
_MILAN_2025 = {
    "version": "3",
    "firmware": "1.55.29",
    "alias_check": "required",
    "min_tcb": "min_tcb.milan = { bootloader = 4, tee = 0, snp = 24, microcode = 219 }",
}
_GENOA_2025 = {
    "version": "5",
    "firmware": "1.55.43",
    "alias_check": "required",
    "mitigations": "0000000000000001",
    "min_tcb": "min_tcb.genoa = { bootloader = 10, tee = 0, snp = 25, microcode = 84 }",
}
_RK_CHIP = (
    "6c65aee8a139e984657ee8bfe50cbdc39067e3a99da09bba4e948236c91df95b"
    "aa7bbd233fa56b101b90d136c7a78091013a7ce62c31fc25be1c6ca87da31a5a"
)


def _oak_case(name: str, measurement: str, bound: str, values: dict[str, str]) -> Case:
    return Case(
        name=f"Oak's {name.replace('_', ' ')} machine is affirmed",
        rows=(f"sev-snp/oak/{name}_evidence.binarypb",),
        format=FORMAT,
        parts=_oak(name),
        policy=policy(measurement=measurement, **values),
        bound=bound + "00" * 32,
        at="2026-11-25",
        mutate=("report", "certificates"),
    )


CASES: list[Case] = [
    Case(
        name="a Milan report of version 2 with its VCEK is affirmed",
        parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_TRUSTEE}/test-vcek.der"),
        mutate=("report", "certificates"),
        **_TEST_REPORT,
    ),
    Case(
        name="it is refused for another nonce",
        parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_TRUSTEE}/test-vcek.der"),
        refused="report data",
        **(_TEST_REPORT | {"bound": "00" * 64}),
    ),
    Case(
        name="it is refused once its VCEK certificate has expired",
        parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_TRUSTEE}/test-vcek.der"),
        refused="vcek chain validity",
        **(_TEST_REPORT | {"at": "2030-01-25"}),
    ),
    Case(
        name="it is refused with a VCEK certificate of another machine",
        parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_VIRTEE}/vcek_milan.der"),
        refused="report signature",
        **_TEST_REPORT,
    ),
    Case(
        name="it is refused without a certificate, as no bundle has it",
        parts=_files(f"{_TRUSTEE}/test-report.bin"),
        refused="certificates",
        **_TEST_REPORT,
    ),
    *(
        Case(
            name=f"it is refused with the made-up certificate of {kind}",
            parts=_files(f"{_TRUSTEE}/test-report.bin", f"{_TRUSTEE}/test-vcek-invalid-{kind}.der"),
            refused="vcek chain",
            **(
                _TEST_REPORT
                | {
                    "rows": (
                        f"{_TRUSTEE}/test-report.bin",
                        f"{_TRUSTEE}/test-vcek-invalid-{kind}.der",
                    )
                }
            ),
        )
        for kind in ("legacy", "new")
    ),
    Case(
        name="a VLEK report of AWS is affirmed on a day on which its certificate holds",
        policy=policy(measurement=_VLEK_MEASUREMENT, **_VLEK),
        at="2025-06-01",
        mutate=("report", "certificates"),
        **_VLEK_REPORT,
    ),
    Case(
        name="the VLEK's certificate has expired since",
        policy=policy(measurement=_VLEK_MEASUREMENT, **_VLEK),
        at="2026-11-25",
        refused="vlek chain validity",
        **_VLEK_REPORT,
    ),
    Case(
        name="a report of vmpl 1 is refused where 0 is pinned",
        policy=policy(measurement=_VLEK_MEASUREMENT, **(_VLEK | {"vmpl": "0"})),
        at="2025-06-01",
        refused="vmpl",
        **_VLEK_REPORT,
    ),
    Case(
        name="a VLEK is refused where only VCEKs are accepted",
        policy=policy(
            measurement=_VLEK_MEASUREMENT,
            **(_VLEK | {"signing_keys": '["vcek"]', "csp_ids": "[]"}),
        ),
        at="2025-06-01",
        refused="signer",
        **_VLEK_REPORT,
    ),
    Case(
        name="a VLEK of another provider's region is refused",
        policy=policy(
            measurement=_VLEK_MEASUREMENT,
            **(_VLEK | {"csp_ids": '["CN=cc-eu-west-1.amazonaws.com"]'}),
        ),
        at="2025-06-01",
        refused="provider",
        **_VLEK_REPORT,
    ),
    Case(
        name="a masked chip is refused where any provider's VLEK would do",
        policy=policy(measurement=_VLEK_MEASUREMENT, **(_VLEK | {"csp_ids": '["any"]'})),
        at="2025-06-01",
        refused="masked chip id",
        **_VLEK_REPORT,
    ),
    Case(
        name="a masked chip passes with a warning where the policy says so",
        policy=policy(
            measurement=_VLEK_MEASUREMENT,
            **(_VLEK | {"csp_ids": '["any"]', "exceptions": '["masked-chip-id"]'}),
        ),
        at="2025-06-01",
        exceptions_used=True,
        mutate=("report", "certificates"),
        **_VLEK_REPORT,
    ),
    Case(
        name="a guest that its host may debug is refused",
        policy=policy(measurement=_GOSEV_MEASUREMENT),
        refused="debug",
        **_GOSEV_REPORT,
    ),
    Case(
        name="it passes with a warning where the policy excepts debugging",
        policy=policy(measurement=_GOSEV_MEASUREMENT, exceptions='["debug"]'),
        exceptions_used=True,
        mutate=("report", "certificates"),
        **_GOSEV_REPORT,
    ),
    Case(
        name="a Milan report in hex is affirmed",
        rows=(f"{_VIRTEE}/report_milan.hex",),
        format=FORMAT,
        parts=_files(f"{_VIRTEE}/report_milan.hex", f"{_VIRTEE}/vcek_milan.der"),
        policy=policy(
            measurement="7a1e5c266c0108dbc9bb94fa926951320940915d0aafb42464bd88b579ea158d"
            "3e1a0dc39b2c60bd95b9c480cd81841f",
            firmware="1.52.4",
            min_tcb="min_tcb.milan = { bootloader = 3, tee = 0, snp = 8, microcode = 115 }",
        ),
        bound="d447b55d197491bfe15cf298f9de9986b7a7c4be2468b4f6e2d53b71d7c64581"
        "0b0f2cdfca0040433be063fc1a8293f0f3f8dae7b79fecb3d1cd82bd6a93ebfd",
        at="2026-11-25",
        mutate=("report", "certificates"),
    ),
    _oak_case(
        "genoa_oc",
        _GENOA,
        "8100555af0ad8e7525be6dffeed0af83e30bbacbf03b76e175e6894d1ed057ce",
        _GENOA_2025,
    ),
    _oak_case(
        "milan_oc_release",
        _RELEASE,
        "a7ca989b0359ea4e5efc47bdbcad84b2df3f26fd09ee7bda5bb27953abf68992",
        _MILAN_2025,
    ),
    _oak_case(
        "milan_oc_staging",
        _STAGING,
        "6061a1b49c706591839a3d9a0fab68c6d71236b7ab912cb7f7f3f9170fcbdc51",
        _MILAN_2025,
    ),
    _oak_case(
        "milan_rk_release",
        _RELEASE,
        "31d41c2cd203b6acd547e0551e1e9616275a2b7c634eb2256aff1cab1f94a986",
        _MILAN_2025,
    ),
    _oak_case(
        "milan_rk_staging",
        _STAGING,
        "3e25197771c57f52a65c7bc55aada68f667d3a85f8b3fb0c15493ce0ae4e68b6",
        _MILAN_2025,
    ),
    Case(
        name="Oak's Milan machine is affirmed with its VCEK from the bundle, and pinned by chip",
        rows=("sev-snp/oak/milan_rk_staging_evidence.binarypb",),
        format=FORMAT,
        parts=lambda folder: {"report": _oak_report(folder, "milan_rk_staging")},
        policy=policy(measurement=_STAGING, chip_ids=f'["{_RK_CHIP}"]', **_MILAN_2025),
        bound="3e25197771c57f52a65c7bc55aada68f667d3a85f8b3fb0c15493ce0ae4e68b6" + "00" * 32,
        at="2026-11-25",
        collateral=_in_bundle("milan_rk_staging", "milan", _RK_CHIP, "04000000000018db"),
        mutate=("report",),
    ),
    Case(
        name="staging code is refused where only the release is pinned",
        rows=("sev-snp/oak/milan_rk_staging_evidence.binarypb",),
        format=FORMAT,
        parts=_oak("milan_rk_staging"),
        policy=policy(measurement=_RELEASE, **_MILAN_2025),
        bound="3e25197771c57f52a65c7bc55aada68f667d3a85f8b3fb0c15493ce0ae4e68b6" + "00" * 32,
        at="2026-11-25",
        refused="measurement",
        found=_STAGING,
    ),
    Case(
        name="a machine of a product line without a floor is refused",
        rows=("sev-snp/oak/genoa_oc_evidence.binarypb",),
        format=FORMAT,
        parts=_oak("genoa_oc"),
        policy=policy(measurement=_GENOA, **_MILAN_2025),
        bound="8100555af0ad8e7525be6dffeed0af83e30bbacbf03b76e175e6894d1ed057ce" + "00" * 32,
        at="2026-11-25",
        refused="product",
    ),
    Case(
        name="a missing revocation list is refused where the policy requires one",
        rows=("sev-snp/oak/genoa_oc_evidence.binarypb",),
        format=FORMAT,
        parts=_oak("genoa_oc"),
        policy=policy(measurement=_GENOA, crl="required", **_GENOA_2025),
        bound="8100555af0ad8e7525be6dffeed0af83e30bbacbf03b76e175e6894d1ed057ce" + "00" * 32,
        at="2026-11-25",
        refused="collateral",
        found="missing",
    ),
]
