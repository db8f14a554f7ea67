"""Ask the device `/dev/sev-guest` for an AMD SEV-SNP report: Linux 5.19 to 6.6.

Newer kernels have configfs-tsm as well, which is asked first where it is there. A kernel this old
runs at VMPL 0 or fails: only newer ones know of a level below an SVSM.

There is no like file for Intel TDX: the ioctl of `/dev/tdx_guest` gives a TDREPORT, which only the
same machine can verify. A quote comes from configfs-tsm, or from a service of the host's over
vsock, which an enclave without a network cannot ask.

Source: Linux, Documentation/virt/coco/sev-guest.rst and include/uapi/linux/sev-guest.h; AMD
56860, SEV-SNP firmware ABI 1.55, table 25 (MSG_REPORT_RSP); AMD 56421, GHCB specification 2.03,
section 4.1.8.1 (certificate table).
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import (
    AttestationUnavailable,
    hardware_evidence,
    unavailable,
)
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.protocol.evidence import Evidence

DEVICE = "/dev/sev-guest"
GET_EXTENDED_REPORT = 0xC0205302
"""SNP_GET_EXT_REPORT: _IOWR('S', 2, struct snp_guest_request_ioctl of 32 bytes)."""

_HINT = (
    "an SEV-SNP guest has that device from Linux 5.19 on; from 6.7 on configfs-tsm is asked, once "
    "configfs is mounted; both take root"
)
_MESSAGE_VERSION = 1
_CALL = struct.Struct("<B7xQQQ")
"""snp_guest_request_ioctl: message version; addresses of request and response; errors."""
_REQUEST = struct.Struct("<64sI28xQI4x")
"""snp_ext_report_req: report data, VMPL, reserved; address and length of the table's buffer."""
_RESPONSE_SIZE = 4000
_RESPONSE_HEAD = struct.Struct("<II24x")
"""MSG_REPORT_RSP: status, size of the report; it follows."""
_TABLE_SIZE = 0x4000
"""What the driver's own buffer holds."""
_ENTRY = struct.Struct("<16sII")
"""An entry of the table: GUID, offset from the table's start, length. A zero entry ends it."""


class SevGuestAttester:
    """Asks for a report and the host's certificates in one request."""

    def __init__(self, kernel: Kernel, device: Path) -> None:
        """Ask `device`."""
        self._kernel, self.device = kernel, device

    def evidence(self, report_data: bytes, key: Ed25519PrivateKey) -> Evidence:
        """See `Attester`."""
        table = ctypes.create_string_buffer(_TABLE_SIZE)
        request = ctypes.create_string_buffer(
            _REQUEST.pack(report_data, 0, ctypes.addressof(table), _TABLE_SIZE), _REQUEST.size
        )
        response = ctypes.create_string_buffer(_RESPONSE_SIZE)
        call = bytearray(
            _CALL.pack(_MESSAGE_VERSION, ctypes.addressof(request), ctypes.addressof(response), 0)
        )
        with unavailable(
            f"get a report from {self.device}",
            hint=_HINT,
        ):
            self._kernel.ioctl(self.device, GET_EXTENDED_REPORT, call)
        parts = {"report": self._report(response.raw)}
        if certificates := _filled(table.raw):
            parts["certificate-table"] = certificates
        return hardware_evidence("sev-snp", parts, key)

    def _report(self, response: bytes) -> bytes:
        status, size = _RESPONSE_HEAD.unpack_from(response)
        if status or not 0 < size <= _RESPONSE_SIZE - _RESPONSE_HEAD.size:
            raise AttestationUnavailable(
                f"{self.device} answers with status {status} and a report of {size} bytes"
            )
        return response[_RESPONSE_HEAD.size : _RESPONSE_HEAD.size + size]


def _filled(table: bytes) -> bytes:
    """Return the table without the buffer's rest, as configfs-tsm gives it."""
    end = 0
    for guid, offset, length in _ENTRY.iter_unpack(
        table[: len(table) // _ENTRY.size * _ENTRY.size]
    ):
        if not any(guid) and not offset and not length:
            break
        end = max(end, offset + length)
    return table[:end]
