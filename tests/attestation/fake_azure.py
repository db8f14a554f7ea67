"""Azure's paravisor and its vTPM, made up, on the hardware of the fake AMD and the fake Intel.

The layouts are written out here a second time, so that a slip in a parser shows.
"""

from __future__ import annotations

import hashlib
import json
import struct
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from fedenclave.attestation.amd.kds import crl_name, vcek_name
from fedenclave.attestation.amd.report import SigningKey, parse_report
from fedenclave.attestation.azure.confidential_vm import make_format
from tests.attestation import fake_amd, fake_intel, tpm_structures
from tests.attestation.fake_tokens import jwk, rsa_key

INTEL = fake_intel.FakeIntel()
MACHINE = fake_amd.Machine()
FORMAT = make_format(fake_amd.authorities(), INTEL.root)
REPORT_DATA = bytes(range(64))
BOUND = hashlib.sha256(REPORT_DATA).digest()
MEASUREMENT = hashlib.sha256(b"the enclave").digest()
PCRS = {
    4: b"\x44" * 32,
    7: b"\x77" * 32,
    11: hashlib.sha256(bytes(32) + MEASUREMENT).digest(),
}
VM_ID = "911B0EF8-9DBA-48B0-B275-4E4DF2D39252"
NV_SIZE = 2600
AZURE_ATTRIBUTES = bytes(8)
"""Azure's TDs have no attribute at all, not even septve-disable."""


def runtime_claims(**changes: Any) -> dict[str, Any]:
    """Return the runtime data; `...` takes a field away."""
    key = jwk(rsa_key("ak"), "HCLAkPub")
    said = {
        "keys": [
            {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": key["e"], "n": key["n"]},
            {"kid": "HCLEkPub", "key_ops": ["encrypt"], "kty": "RSA", "e": "AQAB", "n": "AAAA"},
        ],
        "vm-configuration": {
            "console-enabled": True,
            "root-cert-thumbprint": "x",
            "secure-boot": True,
            "tpm-enabled": True,
            "tpm-persisted": True,
            "vmUniqueId": VM_ID,
        },
        "user-data": "00" * 64,
    }
    return {name: value for name, value in {**said, **changes}.items() if value is not ...}


def runtime_hash(claims: bytes, name: str = "sha256") -> bytes:
    return hashlib.new(name, claims).digest().ljust(64, b"\0")


def hcl_report(
    hardware: bytes,
    claims: bytes,
    *,
    kind: int = 2,
    version: int = 2,
    request: int = 2,
    status: int = 0,
    reserved: bytes = bytes(12),
    hash_type: int = 1,
    runtime_version: int = 1,
    size: int | None = None,
    claims_size: int | None = None,
    total: int | None = None,
    tail: bytes | None = None,
) -> bytes:
    """Return the NV index."""
    stated = len(claims) if claims_size is None else claims_size
    runtime = struct.pack(
        "<5I",
        len(claims) + 20 if size is None else size,
        runtime_version,
        kind,
        hash_type,
        stated,
    )
    length = 32 + 1184 + 20 + len(claims) if total is None else total
    head = struct.pack("<4s4I", b"HCLA", version, length, request, status) + reserved
    data = head + hardware.ljust(1184, b"\0") + runtime + claims
    return data.ljust(NV_SIZE, b"\0") if tail is None else data + tail


def quote(
    *, bound: bytes = BOUND, pcrs: dict[int, bytes] = PCRS, bank: str = "sha256", kind: int = 0x8018
) -> bytes:
    """Return a TPMS_ATTEST of the vTPM."""
    return tpm_structures.attest(kind, tpm_structures.quote_body(pcrs, bank=bank), extra=bound)


def signature(attest: bytes, key: str = "ak") -> bytes:
    """Return a signature as Azure's tools write it: bare bytes."""
    return rsa_key(key).sign(attest, padding.PKCS1v15(), hashes.SHA256())


def vtpm_parts(attest: bytes | None = None, key: str = "ak") -> dict[str, bytes]:
    attest = quote() if attest is None else attest
    return {
        "tpm-quote": attest,
        "tpm-signature": signature(attest, key),
        "tpm-pcrs": b"".join(PCRS[index] for index in sorted(PCRS)),
    }


def snp_parts(
    said: dict[str, Any] | None = None, *, report: dict[str, Any] | None = None, **layout: Any
) -> dict[str, bytes]:
    """Return valid evidence of an SEV-SNP machine, changed as told."""
    claims = json.dumps(runtime_claims() if said is None else said).encode()
    fields = {"report_data": runtime_hash(claims)} | (report or {})
    hardware = MACHINE.report(**fields)
    return {
        "hcl-report": hcl_report(hardware, claims, **layout),
        "certificates": MACHINE.pem(),
        **vtpm_parts(),
    }


def td_report_structure(
    *, report_data: bytes, cpu_svn: bytes = fake_intel.CPU_SVN, mac: bytes = bytes(32), **td: Any
) -> bytes:
    """Return a TDREPORT with the fields of `fake_intel.td_report`."""
    body = fake_intel.td_report(later=True, **td)
    svn, mrseam, signer, attributes = body[:16], body[16:64], body[64:112], body[112:120]
    info = body[120 : 120 + 16 + 4 * 48 + 4 * 48] + body[600:648] + bytes(64)
    tcb = (0x301FF).to_bytes(8, "little") + svn + mrseam + signer + attributes + body[584:600]
    tcb += bytes(95)
    version = bytes([any(body[600:648])])
    return b"".join(
        [
            b"\x81\0" + version + bytes(13) + cpu_svn,
            hashlib.sha384(tcb).digest() + hashlib.sha384(info).digest(),
            report_data + bytes(32) + mac,
            tcb + bytes(17) + info,
        ]
    )


def tdx_parts(
    said: dict[str, Any] | None = None,
    *,
    structure: dict[str, Any] | None = None,
    quoted: dict[str, Any] | None = None,
    version: int = 4,
    **layout: Any,
) -> dict[str, bytes]:
    """Return valid evidence of a TDX machine; `structure` and `quoted` change one side alone."""
    claims = json.dumps(runtime_claims() if said is None else said).encode()
    both = {"report_data": runtime_hash(claims), "td_attributes": AZURE_ATTRIBUTES}
    hardware = td_report_structure(**{**both, **(structure or {})})
    return {
        "hcl-report": hcl_report(hardware, claims, kind=4, **layout),
        "td-quote": INTEL.td_quote(version, **{**both, **(quoted or {})}),
        **vtpm_parts(),
    }


@cache
def amd_bundle() -> dict[str, bytes]:
    """Return what a bundle holds for the SEV-SNP machine: list and VCEK."""
    report = parse_report(MACHINE.report())
    return {
        crl_name(MACHINE.product, SigningKey.VCEK): MACHINE.crl(),
        vcek_name(report, MACHINE.product): MACHINE.der,
    }


def intel_bundle() -> dict[str, bytes]:
    return INTEL.collateral("TDX")
