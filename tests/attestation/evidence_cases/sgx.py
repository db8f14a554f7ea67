"""Rows of sgx/ in the evidence folder, and further cases made of the same files."""

from __future__ import annotations

from fedenclave.attestation.intel import sgx
from fedenclave.attestation.intel.quote import SGX_TEE
from tests.attestation.cases import Case
from tests.attestation.evidence_cases.intel_quote import (
    SGX_COLLATERAL,
    SGX_QUOTE,
    TDX_COLLATERAL,
    TDX_QUOTE,
    collateral,
    quote_part,
    reported,
)

NEGATIVE = "sgx/openenclave/collateral-negative"
AGE_PROCESSOR = "age of intel/pck-crl-processor.der"


def sgx_policy(exceptions: str = "", **changes: str) -> str:
    values = {
        "mrenclave": '["33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb"]',
        "mrsigner": '["815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6"]',
        "isv_prod_id": "0",
        "min_isv_svn": "0",
        "isv_ext_prod_id": f'["{"00" * 16}"]',
        "isv_family_id": f'["{"00" * 16}"]',
        "config_id": f'"{"00" * 64}"',
        "config_svn": '["0"]',
        "flags": '["0500000000000000"]',
        "xfrm": '["e700000000000000"]',
        "misc_select": '["00000000"]',
        "platforms": '["d04ec06d4e6d92dc90d0ad3cf5ee2ddf"]',
        "min_tcb_evaluation_data_number": "17",
        "advisories": "[]",
        "exceptions": f"[{exceptions}]",
    }
    return "\n".join(f"{key} = {value}" for key, value in (values | changes).items())


HARDENING = {
    "exceptions": '"tcb-configuration-and-sw-hardening-needed"',
    "advisories": '["INTEL-SA-00289", "INTEL-SA-00615"]',
}


def sgx_case(name: str, *, rows: tuple[str, ...] = (), policy: str = "", **changes) -> Case:
    values = {
        "rows": rows or (SGX_QUOTE, SGX_COLLATERAL),
        "format": sgx.FORMAT,
        "parts": quote_part(SGX_QUOTE),
        "policy": policy or sgx_policy(**HARDENING),
        "bound": reported(SGX_QUOTE, SGX_TEE),
        "at": "2025-06-20",
        "collateral": collateral(SGX_COLLATERAL),
    }
    return Case(name=name, **(values | changes))


def negatives() -> list[Case]:
    """Collateral of Open Enclave's tests in place of the SGX quote's own.

    Each is refused for its structure: a field is missing or wrong, or TCB info is of version 1.
    Those that are whole are refused for their age or for what they are.
    """
    missing = "attributes attributesmask id issuedate isvprodid isvsvn miscselect miscselectmask "
    missing += "mrsigner nextupdate qeidentity signature tcb_date tcb_eval_data_num tcb_levels "
    missing += "tcb_status version"
    identities = [(f"qe_identity_missing_{what}", "structure of ") for what in missing.split()]
    identities += [("qve_identity_ok", "structure of ")]
    identities += [(f"qe_identity_{what}", "signature of ") for what in ("ok", "with_advisoryids")]
    bad = "CompSvn Float IntegerOverflow IntegerWithSign InvalidIssueDate InvalidNextUpdate "
    bad += "MissingNextUpdate PceSvn PropertyMissingLevel0 PropertyMissingLevel1 "
    bad += "PropertyMissingLevel2 PropertyMissingLevel3 PropertyWrongTypeLevel0 "
    bad += "PropertyWrongTypeLevel1 PropertyWrongTypeLevel2 PropertyWrongTypeLevel3 Signature "
    bad += "StringEscape"
    infos = [f"tcbInfoNegative{what}" for what in bad.split()] + ["tcbInfo", "tcbInfo_with_pceid"]
    cases = []
    for file, check in identities:
        row = f"{NEGATIVE}/{file}.json"
        cases.append(
            sgx_case(
                f"sgx with {file}",
                rows=(row,),
                collateral=collateral(SGX_COLLATERAL, qe_identity=row),
                refused=f"{check}intel/sgx/qe-identity.json",
            )
        )
    for file in infos:
        row = f"{NEGATIVE}/{file}.json"
        cases.append(
            sgx_case(
                f"sgx with {file}",
                rows=(row,),
                collateral=collateral(SGX_COLLATERAL, tcb_info=row),
                refused="structure of intel/sgx/tcb-info/00a067110000.json",
            )
        )
    return cases


CASES: list[Case] = [
    sgx_case(
        "an enclave whose platform needs configuration and hardening is refused",
        policy=sgx_policy(),
        refused="tcb status",
        found="ConfigurationAndSWHardeningNeeded",
    ),
    sgx_case(
        "the same enclave where the policy excepts just that",
        exceptions_used=True,
        mutate=("quote",),
    ),
    sgx_case(
        "the exception without the advisories that apply",
        policy=sgx_policy(exceptions=HARDENING["exceptions"]),
        refused="advisories",
        found="INTEL-SA-00615",
    ),
    sgx_case(
        "another exception than the one that is needed",
        policy=sgx_policy(**HARDENING | {"exceptions": '"tcb-sw-hardening-needed"'}),
        refused="tcb status",
    ),
    sgx_case(
        "an enclave that the policy does not pin",
        policy=sgx_policy(**HARDENING, mrenclave=f'["{"00" * 32}"]'),
        refused="mrenclave",
    ),
    sgx_case(
        "an enclave on another machine than the policy names",
        policy=sgx_policy(**HARDENING, platforms=f'["{"00" * 16}"]'),
        refused="platform",
    ),
    sgx_case("an enclave for another nonce", bound="00" * 64, refused="report data"),
    sgx_case("an enclave without collateral", collateral=None, refused="collateral"),
    sgx_case(
        "an enclave with a td's collateral",
        collateral=collateral(TDX_COLLATERAL),
        refused="collateral",
        found="missing",
    ),
    sgx_case("an enclave judged after its collateral", at="2025-08-01", refused=AGE_PROCESSOR),
    sgx_case("an enclave judged before its collateral", at="2025-06-18", refused=AGE_PROCESSOR),
    sgx_case(
        "a quote of Intel's own sample data, with no pck chain in it",
        rows=("sgx/intel-qvl-sample/quote.dat",),
        parts=quote_part("sgx/intel-qvl-sample/quote.dat"),
        collateral=None,
        at="2019-09-01",
        refused="pck chain",
        found="type 1",
    ),
    sgx_case(
        "a td's quote given as an enclave's",
        rows=(TDX_QUOTE,),
        parts=quote_part(TDX_QUOTE),
        refused="structure",
    ),
    *negatives(),
]
