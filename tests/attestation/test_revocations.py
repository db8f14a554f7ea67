"""The members' list of what they no longer trust: signed, current, exact, and never silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.formats import FORMATS
from fedenclave.attestation.result import Claims, EvidenceRefused
from fedenclave.attestation.revocations import (
    Revocations,
    SignedRevocations,
    approve_revocations,
    check_revocations,
    verify_revocations,
)
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest
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
    check_revocations(checklist, "sev-snp", claims, found, required=required, now=now)
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
    genoa = Claims(claims={}, levels={"genoa.microcode": 1})
    assert [check.name for check in judge(genoa).checks] == ["revocation list", "revoked chip-id"]


def test_an_expired_list_refuses_everything() -> None:
    judge(claims(), now=EXPIRES)
    with pytest.raises(EvidenceRefused, match="revocation list"):
        judge(claims(), now=EXPIRES + 1)


def test_a_list_issued_later_counts_for_older_evidence_too() -> None:
    with pytest.raises(EvidenceRefused, match="revoked chip-id"):
        judge(claims(chip=CHIP), now=ISSUED - 365 * 24 * 3600)


def test_a_missing_list_is_refused_only_where_the_manifest_requires_one() -> None:
    checklist = Checklist()
    check_revocations(checklist, "sev-snp", claims(), None, required=False, now=ISSUED)
    assert checklist.checks == ()
    with pytest.raises(EvidenceRefused, match="revocation list is none"):
        check_revocations(checklist, "sev-snp", claims(), None, required=True, now=ISSUED)


def test_every_kind_and_level_that_a_list_can_name_is_declared() -> None:
    listed = Revocations.from_toml(LIST.encode())
    assert replace(listed, serial=5).serial == 5
    for format_ in FORMATS.values():
        assert format_.identifiers
