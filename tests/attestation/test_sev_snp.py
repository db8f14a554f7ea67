"""AMD SEV-SNP: what is affirmed, how bytes are read, what is recognised and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from fedenclave.attestation.amd.endorsement import pinned_authorities
from fedenclave.attestation.amd.kds import collateral_of
from fedenclave.attestation.amd.products import Product
from fedenclave.attestation.amd.report import SigningKey, parse_report
from fedenclave.attestation.result import Status, Trust
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation.fake_amd import (
    CHIP,
    CSP,
    TCBS,
    Machine,
    table,
)
from tests.attestation.snp_federation import (
    CHAIN,
    EVERY_CRL,
    FORMAT,
    GOOD_TABLE,
    MACHINE,
    MILAN,
    PROVIDERS,
    TURIN,
    VCEK,
    VLEK,
    appraise,
    evidence,
    policy_with,
    refused,
)

# --- what is affirmed ---


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("product", Product)
@pytest.mark.parametrize("kind", [VCEK, VLEK])
def test_every_product_version_and_kind_of_key_is_affirmed(
    product: Product, version: int, kind: SigningKey
) -> None:
    machine = Machine(product=product, kind=kind)
    result = appraise(evidence(machine, version=version))
    assert result.status is Status.AFFIRMING
    assert set(result.vector) == {
        Trust.INSTANCE_IDENTITY,
        Trust.EXECUTABLES,
        Trust.CONFIGURATION,
        Trust.HARDWARE,
        Trust.RUNTIME_OPAQUE,
    }
    assert result.claims.claims["hwmodel"] == f"amd-{product}"
    assert set(result.claims.levels) <= FORMAT.levels
    assert result.claims.levels[f"{product}.microcode"] == TCBS[product][7]
    assert ("chip-id" in result.claims.identifiers) == (kind is VCEK)
    assert len(result.claims.identifiers["certificate"]) == 3
    assert result.claims.identifiers["measurement"] == ("aa" * 48,)


def test_turins_chip_is_known_by_its_eight_bytes() -> None:
    claims = appraise(evidence(Machine(product=TURIN))).claims
    assert claims.identifiers["chip-id"][0] == CHIP[:8].hex()
    assert claims.levels["turin.fmc"] == 1


def test_a_turin_cannot_hide_from_a_revocation_behind_the_length_of_its_id() -> None:
    turin = Machine(product=TURIN)
    both = (CHIP[:8].hex(), CHIP[:8].hex() + "00" * 56)
    assert appraise(evidence(turin)).claims.identifiers["chip-id"] == both
    masked = policy_with(exceptions='["masked-chip-id"]')
    claims = appraise(evidence(turin, chip_id=bytes(64)), masked).claims
    assert claims.identifiers["chip-id"] == both
    assert appraise(evidence()).claims.identifiers["chip-id"] == (CHIP.hex(),)


@pytest.mark.parametrize("which", ["launch_tcb", "committed_tcb", "current_tcb"])
def test_a_floor_of_the_members_counts_for_the_oldest_of_the_four_tcbs(which: str) -> None:
    """A guest that was started on old firmware must not pass a floor by what runs today."""
    older = bytearray(TCBS[MILAN])
    older[7] -= 19
    lax = policy_with(min_tcb__milan="{ bootloader = 4, tee = 0, snp = 24, microcode = 200 }")
    levels = appraise(evidence(**{which: bytes(older)}), lax).claims.levels
    assert levels["milan.microcode"] == TCBS[MILAN][7] - 19
    assert levels["milan.snp"] == TCBS[MILAN][6]


@pytest.mark.parametrize(
    "given",
    [
        {"certificates": MACHINE.pem()},
        {"certificates": MACHINE.pem().rstrip(b"\n")},
        {"certificates": MACHINE.pem().replace(b"\n", b"\r\n")},
        {"certificates": MACHINE.pem() + b"\n"},
        {"certificates": CHAIN},
        {"certificate-table": table({"vcek": MACHINE.der})},
        {"certificate-table": table({"vcek": MACHINE.pem()}, padding_bytes=0)},
        {
            "certificate-table": table(
                {
                    "ark": MACHINE.root.public_bytes(Encoding.DER),
                    "ask": MACHINE.intermediate.public_bytes(Encoding.DER),
                    "vcek": MACHINE.der,
                },
                little=True,
            )
        },
    ],
    ids=["pem", "no end", "crlf", "empty line", "chain", "table", "pem in table", "whole table"],
)
def test_certificates_are_read_as_hosts_and_tools_write_them(given: dict[str, bytes]) -> None:
    assert appraise({"report": MACHINE.report(), **given}).status is Status.AFFIRMING


@pytest.mark.parametrize("version", [2, 5])
@pytest.mark.parametrize("product", Product)
def test_a_vcek_may_lie_in_the_bundle(product: Product, version: int) -> None:
    machine = Machine(product=product)
    chip = CHIP[:8].hex() if product is TURIN else CHIP.hex()
    name = f"amd/{product}/vcek/{chip}-{TCBS[product].hex()}.der"
    report = machine.report(version=version)
    assert appraise({"report": report}, bundle=EVERY_CRL | {name: machine.der})
    assert name in collateral_of(parse_report(report))


def test_what_a_report_needs_is_named_with_its_url() -> None:
    wanted = collateral_of(parse_report(Machine(product=TURIN).report()))
    chip = CHIP[:8].hex()
    assert wanted == {
        "amd/turin/vcek.crl": "https://kdsintf.amd.com/vcek/v1/Turin/crl",
        f"amd/turin/vcek/{chip}-010203040000004b.der": "https://kdsintf.amd.com/vcek/v1/Turin/"
        f"{chip}?fmcSPL=1&blSPL=2&teeSPL=3&snpSPL=4&ucodeSPL=75",
    }
    assert list(collateral_of(parse_report(PROVIDERS.report()))) == ["amd/milan/vlek.crl"]


def test_an_octet_string_around_the_hwid_is_understood() -> None:
    assert appraise(evidence(Machine(extensions={"4": b"\x04\x40" + CHIP})))


# --- structure ---

TOO_LONG = MACHINE.report() + b"\0"
STRUCTURE: dict[str, Mapping[str, object]] = {
    "version 1": {"version": 1},
    "version 6": {"version": 6},
    "signature algorithm": {"algorithm": 2},
    "policy bit 17 off": {"policy": 0x10000},
    "policy bit 26": {"policy": 0x30000 | 1 << 26},
    "platform bit 8": {"platform_info": 0x125},
    "key info bit 5": {"key_info": 1 << 5},
    "reserved signing key": {"key_info": 2 << 2},
    "reserved at 04C": {"raw": {0x4C: b"\1"}},
    "cpuid before version 3": {"version": 2, "raw": {0x188: b"\x19"}},
    "reserved after cpuid": {"raw": {0x18B: b"\1"}},
    "reserved after current version": {"raw": {0x1EB: b"\1"}},
    "reserved after committed version": {"raw": {0x1EF: b"\1"}},
    "mitigations before version 5": {"version": 4, "raw": {0x1F8: b"\1"}},
    "reserved after mitigations": {"raw": {0x208: b"\1"}},
    "reserved at 29F": {"raw": {0x29F: b"\1"}},
    "reserved in current tcb": {"raw": {0x38 + 3: b"\1"}},
    "reserved in committed tcb": {"raw": {0x1E0 + 2: b"\1"}},
    "reserved in launch tcb": {"raw": {0x1F0 + 5: b"\1"}},
}


@pytest.mark.parametrize("fields", STRUCTURE.values(), ids=STRUCTURE)
def test_a_report_that_is_not_as_the_table_says_is_refused(fields: Mapping[str, object]) -> None:
    assert refused(evidence(MACHINE, **fields)) == "structure"


@pytest.mark.parametrize("report", [b"", TOO_LONG, TOO_LONG[:-2], bytes(1184)])
def test_bytes_that_are_no_report_are_refused(report: bytes) -> None:
    assert refused({"report": report, "certificates": MACHINE.der}) == "structure"


@pytest.mark.parametrize("offset", [0x2A0 + 48, 0x2A0 + 71, 0x2E8 + 48, 0x330, 0x49F])
def test_bytes_beside_the_signature_must_be_zero(offset: int) -> None:
    report = bytearray(MACHINE.report())
    report[offset] = 1
    assert refused({"report": bytes(report), "certificates": MACHINE.der}) == "structure"


def test_turins_reserved_bytes_are_others() -> None:
    turin = Machine(product=TURIN)
    assert refused(evidence(turin, current_tcb=bytes([1, 2, 3, 4, 0, 0, 1, 75]))) == "structure"


BAD_CERTIFICATES: dict[str, bytes] = {
    "empty": b"",
    "noise": b"\x30\x82\x05\x00" + b"x" * 99,
    "der with a tail": MACHINE.der + b"\0",
    "pem with a comment": b"issued in 2026\n" + MACHINE.pem(),
    "pem with a space": MACHINE.pem().replace(b"\n", b" \n", 1),
    "pem with a tail": MACHINE.pem() + b"bytes that nobody signed",
    "pem with a key": MACHINE.pem() + b"-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n",
}


@pytest.mark.parametrize("data", BAD_CERTIFICATES.values(), ids=BAD_CERTIFICATES)
def test_certificates_with_anything_beside_them_are_refused(data: bytes) -> None:
    assert refused({"report": MACHINE.report(), "certificates": data}) == "structure"


BAD_TABLES: dict[str, bytes] = {
    "empty": b"",
    "no end": GOOD_TABLE[:24],
    "unknown guid": b"\x01" * 16 + GOOD_TABLE[16:],
    "twice": GOOD_TABLE[:24] * 2 + GOOD_TABLE[24:],
    "outside": GOOD_TABLE[: -len(MACHINE.der)],
    "over its head": GOOD_TABLE[:16] + b"\x08\0\0\0" + GOOD_TABLE[20:],
    "of no length": GOOD_TABLE[:20] + bytes(4) + GOOD_TABLE[24:],
    "with a tail": GOOD_TABLE + b"\1",
    "several in one": table({"vcek": CHAIN}),
}
BAD_TABLES["with a gap"] = (
    GOOD_TABLE[:16] + (49).to_bytes(4, "little") + GOOD_TABLE[20:48] + b"\1" + GOOD_TABLE[48:]
)


@pytest.mark.parametrize("data", BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_table_that_is_not_only_certificates_is_refused(data: bytes) -> None:
    assert refused({"report": MACHINE.report(), "certificate-table": data}) == "structure"


def test_certificates_come_in_one_part_only() -> None:
    parts = evidence() | {"certificate-table": GOOD_TABLE}
    assert refused(parts) == "structure"


def test_an_unknown_part_is_refused() -> None:
    assert refused(evidence() | {"crl": b""}) == "parts"


# --- recognising and inspecting ---


PADDED_TABLE = GOOD_TABLE.ljust(16384, b"\0")


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        (MACHINE.report(), {"report"}),
        (MACHINE.report().hex().encode() + b"\n", {"report"}),
        (MACHINE.report() + GOOD_TABLE, {"report", "certificate-table"}),
        (MACHINE.report() + PADDED_TABLE, {"report", "certificate-table"}),
    ],
    ids=["bytes", "hex", "with a table", "with a table of four pages"],
)
def test_a_file_with_a_report_is_recognised(file: bytes, parts: set[str]) -> None:
    found = FORMAT.recognise(file)
    assert found is not None
    assert set(found) == parts
    assert appraise(found if "certificate-table" in parts else evidence() | dict(found))


@pytest.mark.parametrize(
    "file",
    [
        b"",
        MACHINE.report()[:-1],
        b"z" * 2368,
        MACHINE.report(version=7),
        MACHINE.report() + b"noise",
    ],
    ids=["empty", "short", "no hex", "version 7", "with noise"],
)
def test_another_file_is_not_recognised(file: bytes) -> None:
    assert FORMAT.recognise(file) is None


def test_inspecting_needs_no_certificate() -> None:
    claims = FORMAT.inspect({"report": Machine(product=TURIN).report()})
    assert claims["hwmodel"] == "amd-turin"
    assert claims["reported-tcb"] == {
        "fmc": 1,
        "bootloader": 2,
        "tee": 3,
        "snp": 4,
        "microcode": 75,
    }
    assert claims["current-mit-vector"] == "0000000000000007"
    assert claims["dbgstat"] == "disabled-since-boot"
    unknown = FORMAT.inspect({"report": MACHINE.report(version=2)})
    assert unknown["hwmodel"] == "unknown"
    assert unknown["reported-tcb"] == TCBS[MILAN].hex()


def test_inspecting_shows_what_amds_extensions_say_unless_they_are_malformed() -> None:
    parts = {"report": MACHINE.report(), "certificates": CHAIN}
    assert FORMAT.inspect(parts)["certificate-product"] == "Milan-B0"
    with pytest.raises(MalformedMessage):
        FORMAT.inspect(evidence(Machine(extensions={"2": None})))


def test_inspecting_shows_what_the_certificates_say() -> None:
    claims = FORMAT.inspect(evidence(PROVIDERS, version=2))
    assert (claims["hwmodel"], claims["csp-id"]) == ("amd-milan", CSP)
    assert claims["certificates"]
    with pytest.raises(MalformedMessage):
        FORMAT.inspect({"report": b""})


# --- hostile bytes ---


@pytest.mark.parametrize("make", [lambda m: m.der, lambda m: m.pem(chain=True)], ids=["der", "pem"])
def test_no_changed_byte_is_affirmed(make: Callable[[Machine], bytes]) -> None:
    parts = {"report": MACHINE.report(), "certificates": make(MACHINE)}
    assert appraise(parts)
    for name, data in parts.items():
        for at in range(0, len(data), 5):
            changed = bytearray(data)
            changed[at] ^= 1 << (at // 5 % 8)
            assert refused({**parts, name: bytes(changed)})


def test_no_changed_byte_of_a_table_is_affirmed() -> None:
    parts = {"report": MACHINE.report(), "certificate-table": GOOD_TABLE}
    for at in range(0, len(GOOD_TABLE), 3):
        changed = bytearray(GOOD_TABLE)
        changed[at] ^= 1 << (at // 3 % 8)
        assert refused({**parts, "certificate-table": bytes(changed)})


def test_unused_bits_of_a_signature_are_refused() -> None:
    # The one byte of a certificate that no signature covers and most parsers let pass.
    der = bytearray(MACHINE.der)
    at = len(der) - len(MACHINE.leaf.signature) - 1
    assert der[at] == 0
    der[at] = 1
    assert refused(evidence() | {"certificates": bytes(der)}) == "structure"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["report", "certificates", "certificate-table"]),
    st.binary(max_size=1500),
    st.integers(min_value=0, max_value=1400),
)
def test_whatever_bytes_come_in_they_are_refused(name: str, noise: bytes, at: int) -> None:
    good = {
        "report": MACHINE.report(),
        "certificates": MACHINE.der,
        "certificate-table": GOOD_TABLE,
    }
    data = good[name][:at] + noise + good[name][at + len(noise) :]
    if data == good[name]:
        return
    parts = {"report": good["report"], name: data}
    if name == "report":
        parts["certificates"] = good["certificates"]
    assert refused(parts)
    FORMAT.recognise(data)


# --- what is pinned ---


def test_the_pinned_authorities_are_amds() -> None:
    names = [
        (authority.product, authority.kind.name, authority.intermediate.subject, authority.root)
        for authority in pinned_authorities()
    ]
    assert len(names) == 6
    for authority in pinned_authorities():
        title = authority.product.capitalize()
        kind = "VLEK-" if authority.kind is VLEK else ""
        assert f"CN=SEV-{kind}{title}" in authority.intermediate.subject.rfc4514_string()
        assert f"CN=ARK-{title}" in authority.root.subject.rfc4514_string()
        authority.intermediate.verify_directly_issued_by(authority.root)
        authority.root.verify_directly_issued_by(authority.root)
