"""Collateral as dcap-qvl keeps it, in one object, is split into the bundle's files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.intel.import_collateral import split_collateral
from fedenclave.attestation.result import Status
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation.fake_intel import NOW, pem, qe_identity, revoke
from tests.attestation.intel_appraisal import INTEL, PCK_CRL, ROOT_CRL, TDX, judge, td


def one_object(tee: str = "TDX") -> dict[str, str]:
    files = INTEL.collateral(tee)
    found = {"pck_crl_issuer_chain": pem(INTEL.ca, INTEL.root).decode()}
    for key, end, outer in (
        ("tcb_info", "b0c06f000000", "tcbInfo"),
        ("qe_identity", "qe-identity", "enclaveIdentity"),
    ):
        document = next(data for name, data in files.items() if name.endswith(f"{end}.json"))
        chain = next(data for name, data in files.items() if name.endswith(f"{end}.pem"))
        found[key] = json.dumps(json.loads(document)[outer], separators=(",", ":"))
        found[f"{key}_signature"] = json.loads(document)["signature"]
        found[f"{key}_issuer_chain"] = chain.decode()
    return found | {"root_ca_crl": files[ROOT_CRL].hex(), "pck_crl": files[PCK_CRL].hex()}


@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_collateral_in_one_object_is_split_into_the_bundles_files(tee: str) -> None:
    assert split_collateral(json.dumps(one_object(tee)).encode()).keys() == (
        INTEL.collateral(tee).keys()
    )


def test_collateral_that_was_split_can_be_judged_with() -> None:
    files = split_collateral(json.dumps(one_object()).encode())
    assert judge(TDX, td(), bundle=from_mapping(files, NOW)).status is Status.AFFIRMING


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tcb_info", "{}"),
        ("tcb_info", "no json"),
        ("tcb_info", json.dumps({"id": "SEV"})),
        ("tcb_info_signature", "zz"),
        ("qe_identity", json.dumps(qe_identity("SGX"))),
        ("pck_crl", "00"),
        ("pck_crl", revoke("Somebody", INTEL.keys["ca"]).hex()),
        ("root_ca_crl", "00"),
        ("tcb_info_issuer_chain", None),
    ],
)
def test_an_object_that_is_no_collateral_is_malformed(key: str, value: object) -> None:
    with pytest.raises(MalformedMessage):
        split_collateral(json.dumps(one_object() | {key: value}).encode())


@given(data=st.binary(max_size=300))
def test_whatever_is_imported_there_is_one_error(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        split_collateral(data)
