"""A policy that accepts a real SEV-SNP report; each test says what is otherwise."""

from __future__ import annotations

_ZEROS96 = "0" * 96
_POLICY = """\
exceptions = {exceptions}
measurements = ["{measurement}"]
host_data = ["{host_data}"]
id_key_digests = ["{id_key}"]
author_key_digests = ["{zeros}"]
min_guest_svn = {guest_svn}
vmpl = {vmpl}
min_report_version = {version}
signing_keys = {signing_keys}
chip_ids = {chip_ids}
csp_ids = {csp_ids}
crl = "{crl}"
min_firmware = "{firmware}"
min_policy_abi = "{abi}"
mitigations = "{mitigations}"
guest_policy.smt = "required"
guest_policy.single_socket = "forbidden"
guest_policy.cxl = "forbidden"
guest_policy.mem_aes_256_xts = "forbidden"
guest_policy.rapl_disabled = "forbidden"
guest_policy.ciphertext_hiding = "forbidden"
guest_policy.page_swap_disabled = "forbidden"
platform.smt = "required"
platform.tsme = "any"
platform.ecc = "any"
platform.rapl_disabled = "forbidden"
platform.ciphertext_hiding = "any"
platform.alias_check_complete = "{alias_check}"
platform.iommu_write_safe = "forbidden"
platform.tio = "forbidden"
{min_tcb}
"""


def policy(**changes: str) -> str:
    values = {
        "exceptions": "[]",
        "host_data": "0" * 64,
        "id_key": _ZEROS96,
        "zeros": _ZEROS96,
        "guest_svn": "0",
        "vmpl": "0",
        "version": "2",
        "signing_keys": '["vcek"]',
        "chip_ids": '["any"]',
        "csp_ids": "[]",
        "crl": "none",
        "firmware": "1.49.3",
        "abi": "0.0",
        "mitigations": "0" * 16,
        "alias_check": "any",
        "min_tcb": "min_tcb.milan = { bootloader = 2, tee = 0, snp = 5, microcode = 68 }",
    }
    return _POLICY.format_map(values | changes)
