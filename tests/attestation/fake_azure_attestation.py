"""A Microsoft Azure Attestation that exists in tests alone: its key set, and tokens of each type.

The claims are shaped as in Microsoft's published examples.
"""

from __future__ import annotations

import base64
import copy
import hashlib
from typing import Any

from fedenclave.attestation.azure.maa import jwks_name
from fedenclave.attestation.jws import text_binding
from tests.attestation.fake_tokens import NOW, certificate, jwk, jwks, rsa_key, sign, x5c

ISSUER = "https://hospitals.weu.attest.azure.net"
REPORT_DATA = bytes(range(64))
BOUND = text_binding(REPORT_DATA)
POLICY_HASH = "wm9mHlvTU82e8UqoOy1Yj1FBRSNkfe99-69IYDq9eWs"
KID = "maa+key="
JWKS = jwks_name(ISSUER)
_HASHED = hashlib.sha256(BOUND).hexdigest() + "00" * 32

_COMMON: dict[str, Any] = {
    "exp": NOW + 8 * 3600,
    "iat": NOW - 100,
    "nbf": NOW - 100,
    "iss": ISSUER,
    "jti": "00" * 32,
    "x-ms-policy-hash": POLICY_HASH,
    "x-ms-ver": "1.0",
}
SGX: dict[str, Any] = {
    **_COMMON,
    "x-ms-attestation-type": "sgx",
    "x-ms-sgx-is-debuggable": False,
    "x-ms-sgx-mrenclave": "e1" * 32,
    "x-ms-sgx-mrsigner": "51" * 32,
    "x-ms-sgx-product-id": 7,
    "x-ms-sgx-svn": 3,
    "x-ms-sgx-report-data": BOUND.hex(),
}
_SNP = {
    "x-ms-attestation-type": "sevsnpvm",
    "x-ms-compliance-status": "azure-compliant-cvm",
    "x-ms-runtime": {"keys": [], "user-data": BOUND.hex().upper()},
    "x-ms-sevsnpvm-authorkeydigest": "a0" * 48,
    "x-ms-sevsnpvm-bootloader-svn": 3,
    "x-ms-sevsnpvm-familyId": "01" + "00" * 15,
    "x-ms-sevsnpvm-guestsvn": 4,
    "x-ms-sevsnpvm-hostdata": "d0" * 32,
    "x-ms-sevsnpvm-idkeydigest": "1d" * 48,
    "x-ms-sevsnpvm-imageId": "02" + "00" * 15,
    "x-ms-sevsnpvm-is-debuggable": False,
    "x-ms-sevsnpvm-launchmeasurement": "3e" * 48,
    "x-ms-sevsnpvm-microcode-svn": 115,
    "x-ms-sevsnpvm-migration-allowed": False,
    "x-ms-sevsnpvm-reportdata": _HASHED,
    "x-ms-sevsnpvm-reportid": "4e" * 32,
    "x-ms-sevsnpvm-smt-allowed": True,
    "x-ms-sevsnpvm-snpfw-svn": 8,
    "x-ms-sevsnpvm-tee-svn": 0,
    "x-ms-sevsnpvm-vmpl": 0,
}
SNP: dict[str, Any] = {**_COMMON, **_SNP}
_TDX = {
    "x-ms-attestation-type": "tdxvm",
    "x-ms-compliance-status": "azure-compliant-cvm",
    "x-ms-runtime": {"user-data": BOUND.hex()},
    "attester_tcb_status": "UpToDate",
    "dbgstat": "disabled",
    "tdx_mrtd": "d7" * 48,
    **{f"tdx_rtmr{i}": f"{i}0" * 48 for i in range(4)},
    "tdx_mrseam": "5e" * 48,
    "tdx_mrsignerseam": "00" * 48,
    "tdx_mrconfigid": "00" * 48,
    "tdx_mrowner": "00" * 48,
    "tdx_mrownerconfig": "00" * 48,
    "tdx_report_data": _HASHED,
    "tdx_seam_attributes": "00" * 8,
    "tdx_seamsvn": 3,
    "tdx_td_attributes": "00" * 8,
    "tdx_td_attributes_debug": False,
    "tdx_tee_tcb_svn": "03000600" + "00" * 12,
    "tdx_xfam": "e718060000000000",
}
TDX: dict[str, Any] = {**_COMMON, **_TDX}
VM: dict[str, Any] = {
    **_COMMON,
    "x-ms-attestation-type": "azurevm",
    "secureboot": True,
    **{
        f"x-ms-azurevm-{name}": value
        for name, value in {
            "bootdebug-enabled": False,
            "kerneldebug-enabled": False,
            "hypervisordebug-enabled": False,
            "testsigning-enabled": False,
            "flightsigning-enabled": False,
            "debuggersdisabled": True,
            "dbvalidated": True,
            "dbxvalidated": True,
            "default-securebootkeysvalidated": True,
            "ostype": "Linux",
            "vmid": "70F5CE9A-2BDC-4B6B-8401-E9B964D3AEB7",
        }.items()
    },
    "x-ms-isolation-tee": _SNP,
    "x-ms-runtime": {"client-payload": {"nonce": base64.b64encode(BOUND).decode()}, "keys": []},
}

_SNP_PINS = """\
launch_measurements = ["MEASUREMENT"]
host_data = ["HOST"]
id_key_digests = ["any"]
author_key_digests = ["any"]
vmpl = 0
smt = true
minimum_bootloader_svn = 3
minimum_tee_svn = 0
minimum_snpfw_svn = 8
minimum_microcode_svn = 115
minimum_guest_svn = 4
compliance = ["azure-compliant-cvm"]
""".replace("MEASUREMENT", "3e" * 48).replace("HOST", "d0" * 32)
_TDX_PINS = (
    """\
mrtd = ["MRTD"]
rtmr0 = ["any"]
rtmr1 = ["any"]
rtmr2 = ["RTMR2"]
rtmr3 = ["any"]
mrseam = ["any"]
mrconfigid = ["ZEROS"]
mrowner = ["ZEROS"]
mrownerconfig = ["ZEROS"]
td_attributes = ["0000000000000000"]
xfams = ["any"]
minimum_seamsvn = 3
compliance = ["azure-compliant-cvm"]
""".replace("MRTD", "d7" * 48)
    .replace("RTMR2", "20" * 48)
    .replace("ZEROS", "00" * 48)
)
POLICY = f"""\
issuers = ["{ISSUER}"]
policy_hashes = ["{POLICY_HASH}"]
exceptions = ["unattested-guest"]
[sgx]
binding = "report-data"
mrenclaves = ["{"e1" * 32}"]
mrsigners = ["{"51" * 32}"]
product_id = 7
minimum_svn = 3
[sevsnpvm]
binding = "runtime-data"
{_SNP_PINS}
[tdxvm]
binding = "runtime-data"
{_TDX_PINS}
[azurevm]
os_types = ["Linux"]
vm_ids = ["70F5CE9A-2BDC-4B6B-8401-E9B964D3AEB7"]
[azurevm.sevsnpvm]
{_SNP_PINS}
[azurevm.tdxvm]
{_TDX_PINS}
"""
TYPES = {"sgx": SGX, "sevsnpvm": SNP, "tdxvm": TDX, "azurevm": VM}
OVER_TDX = {**VM, "x-ms-isolation-tee": _TDX}


def changed(claims: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    """Return the claims with one of them changed; `...` takes it away."""
    result = copy.deepcopy(claims)
    table = result
    for name in path[:-1]:
        table = table[name]
    if to is ...:
        del table[path[-1]]
    else:
        table[path[-1]] = to
    return result


def token(claims: dict[str, Any], key: str = "maa", kid: str = KID) -> bytes:
    header = {"kid": kid, "jku": f"{ISSUER}/certs"}
    return sign(claims, rsa_key(key), header)


def key_set(**dates: int) -> bytes:
    """Return the issuer's JWKS: a self-signed certificate, and another key by its numbers."""
    own = certificate(ISSUER, rsa_key("maa"), ISSUER, rsa_key("maa"), ca=False, **dates)
    return jwks({"kty": "RSA", "kid": KID, "x5c": x5c(own)}, jwk(rsa_key("other"), "by numbers"))
