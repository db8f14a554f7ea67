"""Parse the report of Azure's host compatibility layer (HCL), the paravisor of a confidential VM.

The paravisor asks the hardware for a report at boot, with the hash of its runtime data as report
data, and leaves both in the vTPM's NV index 0x01400001. The runtime data is JSON that holds the
public part of the vTPM's attestation key, HCLAkPub: that is what ties the vTPM to the hardware.

It verifies nothing: azure/confidential_vm.py does so. Whatever is in a report is either hashed,
signed, compared or must have one value; integers are little-endian.

Source: Microsoft Learn, "Azure confidential VMs guest attestation design detail", tables of the
attestation report: header, report payload, runtime data.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from fedenclave.attestation.jwks import rsa_key
from fedenclave.attestation.reader import Reader
from fedenclave.attestation.strict_json import JsonObject, parse_object
from fedenclave.protocol.errors import MalformedMessage

SIGNATURE = b"HCLA"
HEADER_SIZE, HARDWARE_SIZE, RUNTIME_HEADER_SIZE = 32, 1184, 20
"""Sizes in bytes of header, hardware report, and the head of the runtime data."""
MAX_SIZE = 16 << 10
"""The NV index has 2,600 bytes; the limit leaves room for a larger one."""
VERSIONS = (1, 2)
_REQUEST_AK_CERTIFICATE, _STATUS_OK, _RUNTIME_VERSION = 2, 0, 1
SNP, TDX = 2, 4
"""Report types: of the runtime data's head."""
_HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}
AK_KID = "HCLAkPub"


@dataclass(frozen=True, slots=True, kw_only=True)
class HclReport:
    """The report, parsed.

    Attributes:
        version: of the header. Nothing hashes or signs it.
        report_type: `SNP` or `TDX`.
        hardware: the hardware's report, 1184 bytes; a TDREPORT is followed by zeros.
        report_data: what the hardware's report data must be: the runtime data's hash, then zeros.
        ak: the vTPM's attestation key.
        vm_id: `vmUniqueId` as the paravisor says it.
        configuration: `vm-configuration` as the paravisor says it.
        user_data: 64 bytes that the guest left in NV index 0x01400002 before the report was made.
    """

    version: int
    report_type: int
    hardware: bytes
    report_data: bytes
    ak: RSAPublicKey
    vm_id: str
    configuration: JsonObject
    user_data: bytes


def parse_hcl_report(data: bytes) -> HclReport:
    """Return the report in `data`: the NV index, which is zero from the report's end on.

    Raises:
        MalformedMessage: it is none, or has a value that is not known.
    """
    if len(data) > MAX_SIZE:
        raise MalformedMessage(f"hcl report has {len(data)} bytes, want at most {MAX_SIZE}")
    reader = Reader(data, "hcl report")
    if reader.take(4) != SIGNATURE:
        raise MalformedMessage("hcl report does not begin with HCLA")
    version, size = reader.little(4), reader.little(4)
    request, status = reader.little(4), reader.little(4)
    if version not in VERSIONS or request != _REQUEST_AK_CERTIFICATE or status != _STATUS_OK:
        raise MalformedMessage(
            f"hcl report has version {version}, request type {request} and status {status}, want "
            f"version 1 or 2, type {_REQUEST_AK_CERTIFICATE} and status {_STATUS_OK}"
        )
    reader.zeros(HEADER_SIZE - 20, "bytes 20 to 31")
    hardware = reader.take(HARDWARE_SIZE)
    report_type, report_data, claims = _read_runtime_data(reader)
    if reader.at != size:
        raise MalformedMessage(f"hcl report says that it has {size} bytes, and has {reader.at}")
    reader.zeros(reader.left, "the rest of the nv index")
    runtime = parse_object(claims, "runtime data")
    return HclReport(
        version=version,
        report_type=report_type,
        hardware=hardware,
        report_data=report_data,
        ak=_find_ak(runtime),
        vm_id=runtime.table("vm-configuration").text("vmUniqueId"),
        configuration=runtime.table("vm-configuration"),
        user_data=runtime.hexadecimal("user-data", 64) if "user-data" in runtime else bytes(64),
    )


def _read_runtime_data(reader: Reader) -> tuple[int, bytes, bytes]:
    """Return report type, expected report data, and the claims."""
    size, version = reader.little(4), reader.little(4)
    report_type, hash_type = reader.little(4), reader.little(4)
    claims_size = reader.little(4)
    if version != _RUNTIME_VERSION or size != claims_size + RUNTIME_HEADER_SIZE:
        raise MalformedMessage(
            f"runtime data has version {version}, {size} bytes, {claims_size} of claims; want "
            f"version {_RUNTIME_VERSION} and {RUNTIME_HEADER_SIZE} bytes more than claims"
        )
    if report_type not in (SNP, TDX) or hash_type not in _HASHES:
        raise MalformedMessage(
            f"runtime data is of report type {report_type} and hash type {hash_type}, want type "
            f"{SNP} (sev-snp) or {TDX} (tdx) and hash 1 to 3"
        )
    claims = reader.take(claims_size)
    digest = hashlib.new(_HASHES[hash_type], claims).digest()
    return report_type, digest + bytes(64 - len(digest)), claims


def _find_ak(runtime: JsonObject) -> RSAPublicKey:
    found = [key for key in runtime.tables("keys") if key.values.get("kid") == AK_KID]
    if len(found) != 1:
        raise MalformedMessage(f"runtime data has {len(found)} keys {AK_KID}, want 1")
    if found[0].texts("key_ops") != ("sign",):
        raise MalformedMessage(f"runtime data has a key {AK_KID} that is not for signing alone")
    return rsa_key(found[0])
