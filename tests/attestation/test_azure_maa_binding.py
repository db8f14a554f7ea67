"""What binds an Azure Attestation token to this enclave, and who else could have got one."""

import base64
import hashlib
from typing import Any

import pytest

from fedenclave.attestation.azure.maa import FORMAT
from fedenclave.attestation.result import Status
from fedenclave.protocol.errors import ConfigurationError
from tests.attestation.azure_maa_appraisal import (
    GUEST,
    appraise,
    bound_by,
    excepting,
    refused,
)
from tests.attestation.fake_azure_attestation import (
    BOUND,
    OVER_TDX,
    POLICY,
    REPORT_DATA,
    SGX,
    SNP,
    TDX,
    VM,
    changed,
    token,
)


@pytest.mark.parametrize("claims", [SNP, TDX], ids=["sevsnpvm", "tdxvm"])
def test_a_token_that_any_root_of_any_tenant_can_get_by_the_paravisors_user_data_is_refused(
    claims: dict[str, Any],
) -> None:
    # The report data is of the paravisor's runtime data; the attacker has written the binding to
    # the vTPM of a machine of his own. The paravisor's measurement is the pinned one there too.
    kind = str(claims["x-ms-attestation-type"])
    strict = bound_by("user-data", kind, excepting())
    assert refused(token(claims), strict) == "guest"
    lax = appraise(token(claims), bound_by("user-data", kind, excepting(GUEST)))
    assert lax.status is Status.WARNING
    assert [check.excepted for check in lax.checks if check.excepted] == [GUEST]


@pytest.mark.parametrize("claims", [VM, OVER_TDX], ids=["over sevsnpvm", "over tdxvm"])
def test_a_vm_token_that_any_root_of_any_tenant_can_get_needs_its_exception(
    claims: dict[str, Any],
) -> None:
    assert refused(token(claims), excepting()) == "guest"
    assert appraise(token(claims), excepting(GUEST)).status is Status.WARNING


class TestBinding:
    HASHED = hashlib.sha256(BOUND).digest() + bytes(32)

    @pytest.mark.parametrize(
        ("claims", "field"),
        [
            (SGX, "x-ms-sgx-report-data"),
            (SNP, "x-ms-sevsnpvm-reportdata"),
            (TDX, "tdx_report_data"),
        ],
    )
    @pytest.mark.parametrize("rule", ["report-data", "runtime-data", "user-data"])
    def test_each_rule_accepts_its_own_place_alone(
        self, claims: dict[str, Any], field: str, rule: str
    ) -> None:
        if claims is SGX and rule == "user-data":
            with pytest.raises(ConfigurationError):
                appraise(token(SGX), POLICY.replace('"report-data"', '"user-data"', 1))
            return
        policy = bound_by(rule, claims["x-ms-attestation-type"])
        good = {"report-data": BOUND, "runtime-data": self.HASHED, "user-data": bytes(64)}[rule]
        right = changed(claims, field, to=good.hex())
        user_data = BOUND if rule == "user-data" else bytes(64)
        right["x-ms-runtime"] = {"user-data": user_data.hex()}
        wanted = Status.WARNING if rule == "user-data" else Status.AFFIRMING
        assert appraise(token(right), policy).status is wanted
        wrong = changed(right, field, to=bytes(64).hex())
        wrong["x-ms-runtime"] = {"user-data": bytes(64).hex()}
        assert refused(token(wrong), policy) == "report data"
        assert refused(token(right), policy, bound=BOUND[::-1]) == "report data"

    def test_missing_user_data_is_refused(self) -> None:
        claims = changed(TDX, "x-ms-runtime", to={})
        assert refused(token(claims), bound_by("user-data", "tdxvm")) == "structure"

    def test_a_nonce_of_the_request_binds_nothing(self) -> None:
        claims = changed(SGX, "x-ms-sgx-report-data", to="00" * 64)
        claims["nonce"] = BOUND.decode()
        assert refused(token(claims)) == "report data"

    def test_the_binding_is_text_of_64_bytes(self) -> None:
        assert FORMAT.bind(REPORT_DATA) == BOUND
        assert len(BOUND) == 64
        assert BOUND.isalnum()


def test_the_payloads_nonce_is_base64() -> None:
    nonce = VM["x-ms-runtime"]["client-payload"]["nonce"]
    assert base64.b64decode(nonce) == BOUND
