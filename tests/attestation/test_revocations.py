"""The members' list of what they no longer trust: signed, current, exact, and never silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.formats import FORMATS
from fedenclave.attestation.identifiers import fits, shape_of
from fedenclave.attestation.nvidia.gpu import IDENTIFIERS as GPU_KINDS
from fedenclave.attestation.result import Claims, EvidenceRefused
from fedenclave.attestation.revocation_checks import check_revocations
from fedenclave.attestation.revocations import (
    Revocations,
    SignedRevocations,
    approve_revocations,
    verify_revocations,
)
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest
from tests.attestation.cases import EVIDENCE
from tests.attestation.evidence_cases import CASES
from tests.protocol.test_manifest import KEYS, SOURCE

MANIFEST = Manifest.from_bytes(SOURCE.encode())
CHIP = "ab" * 64
LIST = f"""\
version = 1
federation = "fed"
serial = 4
issued = "2026-11-25T00:00:00Z"
expires = "2027-02-25T00:00:00Z"

[[revoked]]
format = "sev-snp"
what = "chip-id"
value = "{CHIP}"
reason = "stolen"

[[floors]]
format = "sev-snp"
level = "milan.microcode"
at_least = 219
reason = "a bulletin"
"""
ISSUED, EXPIRES = 1795564800, 1803513600


def signed(source: str = LIST, members: tuple[int, ...] = (0, 1)) -> bytes:
    names = ("m1", "m2")
    approvals = [approve_revocations(source.encode(), names[i], KEYS[i]) for i in members]
    return SignedRevocations(revocations=source.encode(), approvals=tuple(approvals)).to_bytes()


def judge(
    claims: Claims, now: int = ISSUED, listed: Revocations | None = None, required: bool = True
) -> Checklist:
    checklist = Checklist()
    found = Revocations.from_toml(LIST.encode()) if listed is None else listed
    check_revocations(checklist, "sev-snp", claims, found, required=required, gpu=False, now=now)
    checklist.finish(())
    return checklist


def claims(chip: str = "cd" * 64, microcode: int = 219) -> Claims:
    return Claims(
        claims={}, identifiers={"chip-id": (chip,)}, levels={"milan.microcode": microcode}
    )


def test_a_list_that_enough_members_signed_is_what_they_signed() -> None:
    found = verify_revocations(signed(), MANIFEST)
    assert (found.serial, found.issued, found.expires) == (4, ISSUED, EXPIRES)
    assert found.revoked[0].value == CHIP
    assert found.floors[0].at_least == 219


@pytest.mark.parametrize(
    "data",
    [
        signed(members=(0,)),
        signed(members=(0, 0)),
        # Signed as another member than the key's.
        SignedRevocations(
            revocations=LIST.encode(),
            approvals=tuple(approve_revocations(LIST.encode(), "m1", KEYS[i]) for i in (0, 1)),
        ).to_bytes(),
        # Signed for other bytes.
        SignedRevocations(
            revocations=LIST.replace("219", "1").encode(),
            approvals=SignedRevocations.from_bytes(signed()).approvals,
        ).to_bytes(),
    ],
)
def test_a_list_that_too_few_members_signed_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"signed by [01] members, want 2"):
        verify_revocations(data, MANIFEST)


def test_another_federations_list_is_refused() -> None:
    other = LIST.replace('"fed"', '"other"')
    with pytest.raises(ConfigurationError, match="'other', want 'fed'"):
        verify_revocations(signed(other), MANIFEST)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("version = 1", "version = 2", "version"),
        ("serial = 4", "serial = 0", "serial"),
        ("2026-11-25T00:00:00Z", "2026-11-25", "want a time"),
        ("2027-02-25", "2025-02-25", "not after issued"),
        ('format = "sev-snp"\nwhat', 'format = "snp"\nwhat', "format"),
        ('what = "chip-id"', 'what = "chipid"', "what"),
        (f'value = "{CHIP}"', 'value = ""', "value"),
        ('level = "milan.microcode"', 'level = "milan.ucode"', "level"),
        ("at_least = 219", "at_least = -1", "at_least"),
        ("[[floors]]", "[[floor]]", "unknown keys: floor"),
        ('reason = "stolen"', 'reason = "stolen"\nuntil = 1', "unknown keys: until"),
    ],
)
def test_one_thing_wrong_in_a_list_is_one_error(old: str, new: str, match: str) -> None:
    assert LIST.count(old) == 1
    with pytest.raises(ConfigurationError, match=match):
        Revocations.from_toml(LIST.replace(old, new).encode())


def test_a_revoked_chip_is_refused_however_it_is_written() -> None:
    judge(claims())
    for listed in (CHIP, CHIP.upper()):
        entry = Revocations.from_toml(LIST.replace(CHIP, listed).encode())
        with pytest.raises(EvidenceRefused, match="revoked chip-id") as refusal:
            judge(claims(chip=CHIP), listed=entry)
        assert "stolen" in refusal.value.hint


def test_a_level_below_the_members_floor_is_refused() -> None:
    with pytest.raises(
        EvidenceRefused, match=r"floor of milan.microcode is 218, want at least 219"
    ):
        judge(claims(microcode=218))


def test_a_floor_of_one_product_says_nothing_of_another() -> None:
    genoa = Claims(claims={}, identifiers={"chip-id": ("cd" * 64,)}, levels={"genoa.microcode": 1})
    assert [check.name for check in judge(genoa).checks] == [
        "revocation list",
        "revoked chip-id",
        "revoked chip-id",
    ]


def test_evidence_that_hides_what_the_list_names_is_refused() -> None:
    masked = Claims(claims={}, levels={"milan.microcode": 219})
    with pytest.raises(EvidenceRefused, match="revoked chip-id is none is reported"):
        judge(masked)
    other = LIST.replace("milan.microcode", "milan.snp")
    partly = Claims(claims={}, identifiers={"chip-id": ("cd" * 64,)}, levels={"milan.tee": 1})
    with pytest.raises(EvidenceRefused, match=r"floor of milan\.snp is not reported"):
        judge(partly, listed=Revocations.from_toml(other.encode()))


@pytest.mark.parametrize(
    "written",
    [
        f"0x{CHIP}",
        f"{CHIP} ",
        f" {CHIP}",
        f"{CHIP}\\n",
        CHIP[:-1],
        ":".join(CHIP[i : i + 2] for i in range(0, len(CHIP), 2)),
        " ".join(CHIP[i : i + 4] for i in range(0, len(CHIP), 4)),
        f"{CHIP}\u200b",
        f"sha256:{CHIP}",
    ],
)
def test_a_value_with_a_typing_mistake_is_an_error_and_revokes_not_nothing(written: str) -> None:
    with pytest.raises(ConfigurationError, match="which no chip-id of sev-snp can be"):
        Revocations.from_toml(LIST.replace(CHIP, written).encode())


def test_every_kind_that_a_list_can_name_has_a_shape() -> None:
    for format_ in FORMATS.values():
        for kind in format_.identifiers | GPU_KINDS:
            assert shape_of(format_.name, kind) is not None, (format_.name, kind)


@pytest.mark.skipif(not EVIDENCE.is_dir(), reason="../shared/evidence is absent")
def test_what_real_evidence_reports_can_be_revoked_as_it_is_written() -> None:
    seen = set()
    for case in CASES:
        if case.refused or case.format.name not in FORMATS:
            continue
        for kind, values in case.appraise(EVIDENCE).claims.identifiers.items():
            for value in values:
                assert fits(case.format.name, kind, value), (case.format.name, kind, value)
                seen.add((case.format.name, kind))
    assert len(seen) > 30


@pytest.mark.parametrize(
    ("format_", "kind", "value", "wanted"),
    [
        ("sev-snp", "certificate", "ab" * 32, True),
        ("sev-snp", "certificate", "AB" * 32, True),
        ("sev-snp", "certificate", "ab" * 31, False),
        ("sev-snp", "certificate", "sha256:" + "ab" * 32, False),
        ("sev-snp", "measurement", "ab" * 48, True),
        ("sev-snp", "measurement", "ab" * 32, False),
        ("sev-snp", "chip-id", "Lyon", False),
        ("insecure", "measurement", "sha256:" + "ab" * 32, True),
        ("confidential-space", "instance-id", "1234567890123456789", True),
        ("azure-vm", "vm-id", "911B0EF8-9DBA-4C1A-8D5F-0A1B2C3D4E5F", True),
        ("azure-vm", "attestation-key", "ab" * 32, True),
        ("tpm", "attestation-key", "000b" + "ab" * 32, True),
        ("tpm", "attestation-key", "ab" * 32, False),
        ("nitro", "instance-id", "i-0a1b2c3d4e5f60718", True),
        ("sgx", "chip-id", "", False),
        ("psa", "certificate-name", "x", False),
    ],
)
def test_identifiers_have_a_shape(format_: str, kind: str, value: str, wanted: bool) -> None:
    assert fits(format_, kind, value) is wanted


def test_an_expired_list_refuses_everything() -> None:
    judge(claims(), now=EXPIRES)
    with pytest.raises(EvidenceRefused, match="revocation list"):
        judge(claims(), now=EXPIRES + 1)


def test_a_list_issued_later_counts_for_older_evidence_too() -> None:
    with pytest.raises(EvidenceRefused, match="revoked chip-id"):
        judge(claims(chip=CHIP), now=ISSUED - 365 * 24 * 3600)


def test_a_missing_list_is_refused_only_where_the_manifest_requires_one() -> None:
    checklist = Checklist()
    check_revocations(checklist, "sev-snp", claims(), None, required=False, gpu=False, now=ISSUED)
    assert checklist.checks == ()
    with pytest.raises(EvidenceRefused, match="revocation list is none"):
        check_revocations(
            checklist, "sev-snp", claims(), None, required=True, gpu=False, now=ISSUED
        )


def test_every_kind_and_level_that_a_list_can_name_is_declared() -> None:
    listed = Revocations.from_toml(LIST.encode())
    assert replace(listed, serial=5).serial == 5
    for format_ in FORMATS.values():
        assert format_.identifiers
