"""Who signed an Azure Attestation token: the issuer's set of keys, and nothing else."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from fedenclave.attestation.result import EvidenceRefused
from tests.attestation.azure_maa_appraisal import appraise, refused
from tests.attestation.fake_azure_attestation import (
    JWKS,
    KID,
    SGX,
    key_set,
    token,
)
from tests.attestation.fake_tokens import (
    DAY,
    NOW,
    certificate,
    jwk,
    jwks,
    rsa_key,
    sign_raw,
    x5c,
)


def test_a_key_that_is_given_by_its_numbers_verifies() -> None:
    found = appraise(token(SGX, key="other", kid="by numbers"))
    assert found.claims.identifiers["certificate"] == ()


class TestKeySet:
    def test_a_missing_set_is_refused(self) -> None:
        assert refused(token(SGX), files={}) == "collateral"

    def test_the_set_of_another_issuer_is_not_asked(self) -> None:
        files = {"azure/maa/other.weu.attest.azure.net/jwks.json": key_set()}
        assert refused(token(SGX), files=files) == "collateral"

    def test_an_old_set_is_refused(self) -> None:
        assert refused(token(SGX), fetched=NOW - 31 * DAY) == f"age of {JWKS}"

    def test_an_unknown_kid_is_refused(self) -> None:
        assert refused(token(SGX, kid="other")) == "signing key"

    def test_a_key_by_another_is_refused(self) -> None:
        assert refused(token(SGX, key="evil")) == "signature"

    def test_a_key_in_the_header_is_not_used(self) -> None:
        header = {"alg": "RS256", "kid": KID, "jwk": jwk(rsa_key("evil"), KID)}
        own = certificate("x", rsa_key("evil"), "x", rsa_key("evil"), ca=False)
        header["x5c"] = x5c(own)
        encoded = sign_raw(json.dumps(header).encode(), json.dumps(SGX).encode(), rsa_key("evil"))
        assert refused(encoded) == "signature"

    @pytest.mark.parametrize("dates", [{"last": NOW - 1}, {"first": NOW + 1}])
    def test_a_certificate_that_is_not_valid_is_refused(self, dates: dict[str, int]) -> None:
        files = {JWKS: key_set(**dates)}
        assert refused(token(SGX), files=files) == "signing certificate validity"

    @pytest.mark.parametrize("chain", [[], ["AAAA"], [3], "AAAA", None])
    def test_what_is_no_certificate_is_refused(self, chain: object) -> None:
        files = {JWKS: jwks({"kty": "RSA", "kid": KID, "x5c": chain})}
        assert refused(token(SGX), files=files) == f"structure of {JWKS}"

    def test_a_certificate_of_a_key_with_a_weak_exponent_is_refused(self) -> None:
        weak = rsa.generate_private_key(public_exponent=3, key_size=2048)
        own = certificate("x", weak, "x", weak, ca=False)
        files = {JWKS: jwks({"kty": "RSA", "kid": KID, "x5c": x5c(own)})}
        with pytest.raises(EvidenceRefused, match="exponent 3, want"):
            appraise(token(SGX), files=files)

    def test_numbers_of_another_key_than_the_certificates_are_refused(self) -> None:
        own = certificate("x", rsa_key("maa"), "x", rsa_key("maa"), ca=False)
        files = {JWKS: jwks({**jwk(rsa_key("other"), KID), "x5c": x5c(own)})}
        assert refused(token(SGX), files=files) == f"structure of {JWKS}"
