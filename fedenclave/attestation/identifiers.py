"""How identifiers are written that evidence reports and a list of revocations can name.

A list with a typing mistake would revoke nothing, so a value must have the very shape of what the
format reports; `fedenclave attest verify --json` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PREFIXED = r"sha256:[0-9a-f]{64}"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TEXT = r"[!-~](?:[ -~]{0,254}[!-~])?"


def _hex(*digits: int) -> str:
    return "|".join(f"[0-9a-f]{{{count}}}" for count in digits)


_ANY_HASH = _hex(64, 96, 128)
_SNP_CHIP, _INTEL_PLATFORM = (128, 16), (32,)

_BY_KIND: Mapping[str, str] = {
    "author-key-digest": _hex(96),
    "certificate": _hex(64),
    "csp-id": _TEXT,
    "fmspc": _hex(12),
    "gpu-device-id": r"(?:[0-9a-f]{2}){1,20}",
    "gpu-fwid": _hex(96),
    "gpu-measurement": _hex(96),
    "host-data": _hex(64),
    "id-key-digest": _hex(96),
    "implementation-id": _hex(64),
    "key": _hex(64),
    "module-id": _TEXT,
    "mrseam": _hex(96),
    "mrsigner": _hex(64),
    "platform-instance-id": _hex(32),
    "qe-mrenclave": _hex(64),
    "report-id": _hex(64),
    "service-td": _hex(96),
    "vm-id": _UUID,
}
_BY_FORMAT_AND_KIND: Mapping[tuple[str, str], str] = {
    ("azure-maa", "measurement"): _hex(64, 96),
    ("azure-vm", "attestation-key"): _hex(64),
    ("azure-vm", "chip-id"): _hex(*_SNP_CHIP, *_INTEL_PLATFORM),
    ("azure-vm", "measurement"): _hex(64, 96),
    ("cca", "instance-id"): r"01[0-9a-f]{64}",
    ("cca", "measurement"): _ANY_HASH,
    ("confidential-space", "instance-id"): r"[0-9]{1,20}",
    ("confidential-space", "measurement"): _PREFIXED,
    ("insecure", "measurement"): _PREFIXED,
    ("nitro", "instance-id"): r"i-[0-9a-f]{8,32}",
    ("nitro", "measurement"): _ANY_HASH,
    ("psa", "instance-id"): r"01[0-9a-f]{64}",
    ("psa", "measurement"): _ANY_HASH,
    ("sev-snp", "chip-id"): _hex(*_SNP_CHIP),
    ("sev-snp", "measurement"): _hex(96),
    ("sgx", "chip-id"): _hex(*_INTEL_PLATFORM),
    ("sgx", "measurement"): _hex(64),
    ("tdx", "chip-id"): _hex(*_INTEL_PLATFORM),
    ("tdx", "measurement"): _hex(96),
    ("tpm", "attestation-key"): r"000b[0-9a-f]{64}|000c[0-9a-f]{96}|000d[0-9a-f]{128}",
    ("tpm", "chip-id"): _hex(64),
    ("tpm", "measurement"): _hex(64),
}


def shape_of(format_: str, kind: str) -> str | None:
    """Return the pattern of identifiers of that kind; None if no such evidence reports one."""
    return _BY_FORMAT_AND_KIND.get((format_, kind), _BY_KIND.get(kind))


def fits(format_: str, kind: str, value: str) -> bool:
    """Return whether `value` can be such an identifier; upper case counts as lower case."""
    shape = shape_of(format_, kind)
    if shape is None or not value.isascii():
        return False
    return re.fullmatch(shape, value) is not None or re.fullmatch(shape, value.lower()) is not None
