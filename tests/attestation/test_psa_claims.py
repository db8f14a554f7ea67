"""Veraison's claims sets, good and bad, signed here: what RFC 9783 allows, and what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cbor2
import pytest

from fedenclave.attestation.arm.lifecycle import SECURED, state_of
from fedenclave.attestation.arm.psa import ROOT_OF_TRUST
from fedenclave.attestation.arm.psa_token import PROFILE_1, PROFILE_2, parse_token
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation.cases import EVIDENCE
from tests.attestation.diagnostic import parse_diagnostic, parse_json
from tests.attestation.fake_arm import psa_token

CLAIMS = EVIDENCE / "arm-psa" / "veraison-claims"
MORE = EVIDENCE / "arm-psa" / "veraison-services"
pytestmark = pytest.mark.skipif(
    not EVIDENCE.is_dir(), reason="../shared/evidence is absent: real evidence is not in the tree"
)

GOOD_DIAGNOSTIC = {
    "P1ClaimsAll",
    "P1ClaimsAllNoSwMeasurements",
    "P1ClaimsMandatoryOnly",
    "P1ClaimsMandatoryOnlyNoSwMeasurements",
    "P1ClaimsTFM",
    "P2ClaimsAll",
    "P2ClaimsMandatoryOnly",
    "P2ClaimsTFM",
}
BAD_DIAGNOSTIC = {
    "P1ClaimsMissingMandatoryNonce": "no nonce",
    "P2ClaimsInvalidMultiNonce": "nonce",
    "P2ClaimsMissingMandatoryNonce": "no nonce",
}
GOOD_NEW = {"token-valid-full", "token-valid-minimalist-p2", "boot-seed-invalid-missing"}
GOOD_OLD = {
    "token-valid-full",
    "token-valid-minimalist-p1",
    "token-valid-minimalist-no-sw-measurements",
    "profile-valid-missing",
    "profile-invalid-missing",
}
"""What each profile allows: the boot seed is optional in the new one, and the profile itself in the
old one. A file that speaks of the other profile only is not in that profile's list."""


def claims_of(text: str) -> Any:
    return parse_token(psa_token(base={}, changes=parse_diagnostic(text)))


@pytest.mark.parametrize("name", sorted(GOOD_DIAGNOSTIC))
def test_good_claims_in_diagnostic_notation_are_read(name: str) -> None:
    token = claims_of((CLAIMS / f"{name}.diag").read_text())
    assert token.profile == (PROFILE_1 if name.startswith("P1") else PROFILE_2)
    assert state_of(token.lifecycle, ROOT_OF_TRUST) == SECURED
    assert bool(token.components) is not name.endswith("NoSwMeasurements")
    assert token.unknown == ()


@pytest.mark.parametrize("name", sorted(BAD_DIAGNOSTIC))
def test_bad_claims_in_diagnostic_notation_are_refused(name: str) -> None:
    with pytest.raises(MalformedMessage, match=BAD_DIAGNOSTIC[name]):
        claims_of((CLAIMS / f"{name}.diag").read_text())


def test_the_diagnostic_notation_of_a_token_is_the_token() -> None:
    folder = EVIDENCE / "arm-psa" / "veraison-tfm"
    claims = parse_diagnostic((folder / "psa-2_0_0_claims.diag").read_text())
    token = parse_token((folder / "psa-2_0_0_sign1.bin").read_bytes())
    assert cbor2.loads(token.message.payload) == claims


@pytest.mark.parametrize("old", [False, True])
def test_of_the_claims_in_json_exactly_the_good_ones_are_read(old: bool) -> None:
    good = set()
    for path in sorted(CLAIMS.glob("test-*.json")):
        claims = parse_json(path.read_text(), old=old)
        if not old and 265 not in claims and "valid-missing" not in path.name:
            continue
        if old and -75000 not in claims and "profile-" not in path.name:
            continue
        if reads(claims):
            good.add(path.stem.removeprefix("test-"))
    assert good == (GOOD_OLD if old else GOOD_NEW)


def reads(claims: dict[int, Any]) -> bool:
    try:
        token = parse_token(psa_token(base=claims))
    except MalformedMessage:
        return False
    return state_of(token.lifecycle, ROOT_OF_TRUST) == SECURED


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("psa.good", True),
        ("psa.badinstance", True),
        ("psa.badswcomp", True),
        ("psa.missingclaims", False),
        ("psa.multinonce", False),
    ],
)
def test_claims_of_veraisons_service_are_judged_as_there(name: str, good: bool) -> None:
    """A wrong instance or component is for the policy to refuse; the claims themselves are well."""
    path = Path(MORE / f"claims_{name}.json")
    assert reads(parse_json(path.read_text(), old=False)) is good
