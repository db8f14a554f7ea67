"""Who signed a Confidential Space token: the chain, its revocation, or a set of keys."""

from typing import Any

import jwt
import pytest

from fedenclave.attestation.collateral import Collateral, CollateralFile, from_mapping
from fedenclave.attestation.google.confidential_space import JWKS, ROOT_CRL
from fedenclave.attestation.result import Status
from tests.attestation.confidential_space_appraisal import appraise, refused
from tests.attestation.fake_google import (
    CLAIMS,
    INTERMEDIATE,
    INTERMEDIATE_NAME,
    LEAF,
    POLICY,
    ROOT,
    bundle,
    crl,
    oidc_token,
    pki_token,
)
from tests.attestation.fake_tokens import DAY, NOW, certificate, jwk, jwks, rsa_key, sign, x5c


class TestChain:
    def test_a_root_of_the_same_name_is_refused(self) -> None:
        name = ROOT.subject.rfc4514_string().removeprefix("CN=")
        other = certificate(name, rsa_key("evil"), name, rsa_key("evil"), ca=True)
        middle = certificate(INTERMEDIATE_NAME, rsa_key("evil"), name, rsa_key("evil"), ca=True)
        leaf = certificate("l", rsa_key("evil"), INTERMEDIATE_NAME, rsa_key("evil"), ca=False)
        token = sign(CLAIMS, rsa_key("evil"), {"x5c": x5c(leaf, middle, other)})
        assert refused(token) == "root certificate"
        token = sign(CLAIMS, rsa_key("evil"), {"x5c": x5c(leaf, middle, ROOT)})
        assert refused(token) == "token chain"

    def test_a_leaf_that_signs_leaves_is_refused(self) -> None:
        leaf = certificate("l", rsa_key("evil"), "Fake leaf", rsa_key("leaf"), ca=False)
        token = sign(CLAIMS, rsa_key("evil"), {"x5c": x5c(leaf, LEAF, ROOT)})
        assert refused(token) == "token chain"

    def test_a_token_by_another_key_than_the_leafs_is_refused(self) -> None:
        header = {"x5c": x5c(LEAF, INTERMEDIATE, ROOT)}
        assert refused(sign(CLAIMS, rsa_key("evil"), header)) == "signature"

    @pytest.mark.parametrize("count", [0, 1, 2, 4])
    def test_a_chain_of_another_length_is_refused(self, count: int) -> None:
        chain = x5c(LEAF, INTERMEDIATE, ROOT, ROOT)[:count]
        assert refused(pki_token(x5c=chain)) == "structure"

    def test_an_expired_leaf_is_refused(self) -> None:
        leaf = certificate(
            "l",
            rsa_key("leaf"),
            INTERMEDIATE_NAME,
            rsa_key("intermediate"),
            ca=False,
            last=NOW - 1,
        )
        assert refused(pki_token(x5c=x5c(leaf, INTERMEDIATE, ROOT))) == "token chain validity"

    def test_a_weak_key_is_refused(self) -> None:
        weak = rsa_key("weak", 1024)
        leaf = certificate("l", weak, INTERMEDIATE_NAME, rsa_key("intermediate"), ca=False)
        with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
            token = sign(CLAIMS, weak, {"x5c": x5c(leaf, INTERMEDIATE, ROOT)})
        assert refused(token) == "structure"

    @pytest.mark.parametrize("odd", ["", "A", "!!!!", "AAAA", "AB=="])
    def test_what_is_no_certificate_is_refused(self, odd: str) -> None:
        chain = [odd, *x5c(INTERMEDIATE, ROOT)]
        assert refused(pki_token(x5c=chain)) == "structure"

    def test_a_certificate_with_line_ends_in_its_base64_is_refused(self) -> None:
        leaf, *others = x5c(LEAF, INTERMEDIATE, ROOT)
        assert refused(pki_token(x5c=[leaf[:60] + "\n" + leaf[60:], *others])) == "structure"


class TestRevocation:
    POLICY = POLICY.replace('revocation = "none"', 'revocation = "crl"')

    def test_a_chain_that_is_not_revoked_is_affirmed(self) -> None:
        assert appraise(pki_token(), self.POLICY).status is Status.AFFIRMING

    def test_a_missing_list_is_refused(self) -> None:
        assert refused(pki_token(), self.POLICY, files={}) == "collateral"

    def test_a_revoked_intermediate_is_refused(self) -> None:
        files = {ROOT_CRL: crl(INTERMEDIATE)}
        name = f"revocation of {INTERMEDIATE_NAME}"
        assert refused(pki_token(), self.POLICY, files=files) == name

    def test_an_old_list_is_refused(self) -> None:
        files = {ROOT_CRL: crl(issued=NOW - 31 * DAY)}
        assert refused(pki_token(), self.POLICY, files=files) == f"age of {ROOT_CRL}"

    def test_last_weeks_list_fetched_again_does_not_hide_what_is_revoked_since(self) -> None:
        # Google's list comes over plain HTTP: anybody on the way can answer with an old one.
        held = Collateral(
            [
                CollateralFile(name=ROOT_CRL, data=crl(INTERMEDIATE), fetched=NOW - DAY),
                CollateralFile(name=ROOT_CRL, data=crl(issued=NOW - 9 * DAY), fetched=NOW - 60),
            ]
        )
        name = f"revocation of {INTERMEDIATE_NAME}"
        assert refused(pki_token(), self.POLICY, collateral=held) == name

    def test_a_list_by_another_is_refused(self) -> None:
        files = {ROOT_CRL: crl(key="evil")}
        assert refused(pki_token(), self.POLICY, files=files) == f"signature of {ROOT_CRL}"

    def test_what_is_no_list_is_refused(self) -> None:
        files = {ROOT_CRL: b"no list"}
        assert refused(pki_token(), self.POLICY, files=files) == f"structure of {ROOT_CRL}"


class TestKeySet:
    def test_a_missing_set_is_refused(self) -> None:
        assert refused(oidc_token(), files={}) == "collateral"

    def test_an_old_set_is_refused(self) -> None:
        old = from_mapping(bundle(), NOW - 31 * DAY)
        assert refused(oidc_token(), collateral=old) == f"age of {JWKS}"

    def test_a_set_from_the_future_is_refused(self) -> None:
        late = from_mapping(bundle(), NOW + 1)
        assert refused(oidc_token(), collateral=late) == f"age of {JWKS}"

    def test_a_later_set_does_not_hide_the_one_of_that_time(self) -> None:
        both = Collateral(
            [
                CollateralFile(name=JWKS, data=bundle()[JWKS], fetched=NOW - DAY),
                CollateralFile(name=JWKS, data=jwks(), fetched=NOW + DAY),
            ]
        )
        assert appraise(oidc_token(), collateral=both).status is Status.AFFIRMING

    def test_a_key_that_was_withdrawn_is_refused(self) -> None:
        both = Collateral(
            [
                CollateralFile(name=JWKS, data=bundle()[JWKS], fetched=NOW - 2 * DAY),
                CollateralFile(name=JWKS, data=jwks(), fetched=NOW - DAY),
            ]
        )
        assert refused(oidc_token(), collateral=both) == "signing key"

    def test_an_unknown_kid_is_refused(self) -> None:
        assert refused(oidc_token(kid="key-9")) == "signing key"

    def test_a_kid_that_is_there_twice_is_refused(self) -> None:
        twice = jwks(jwk(rsa_key("oidc"), "key-1"), jwk(rsa_key("other"), "key-1"))
        assert refused(oidc_token(), files={JWKS: twice}) == "signing key"

    def test_a_token_by_another_key_of_the_set_is_refused(self) -> None:
        assert refused(oidc_token(kid="key-0")) == "signature"

    @pytest.mark.parametrize(
        "change",
        [
            {"kty": "EC"},
            {"e": "Aw"},
            {"n": "AQAB"},
            {"n": "AQ=="},
            {"n": None},
            {"e": "A"},
            {"kty": 3},
        ],
    )
    def test_a_key_that_is_none_is_refused(self, change: dict[str, Any]) -> None:
        files = {JWKS: jwks({**jwk(rsa_key("oidc"), "key-1"), **change})}
        assert refused(oidc_token(), files=files) == f"structure of {JWKS}"

    @pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[1]}'])
    def test_what_is_no_set_is_refused(self, data: bytes) -> None:
        assert refused(oidc_token(), files={JWKS: data}) == f"structure of {JWKS}"
