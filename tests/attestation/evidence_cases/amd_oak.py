"""Real SEV-SNP reports of Oak's machines, each with its VCEK out of Oak's own protobuf messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fedenclave.attestation.amd.sev_snp import FORMAT
from fedenclave.attestation.format import Parts
from tests.attestation.cases import Case
from tests.attestation.evidence_cases.amd_policy import policy


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
