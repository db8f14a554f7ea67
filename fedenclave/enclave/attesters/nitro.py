"""Ask the Nitro Secure Module for an attestation document: AWS Nitro Enclaves.

One ioctl carries a request and its response, both CBOR, each by address and length. The report data
goes into the document's `user_data`; `nonce` and `public_key` stay empty, since the report data
binds both already.

Source: aws-nitro-enclaves-nsm-api 0.4 (messages); Linux, include/uapi/linux/nsm.h (ioctl, sizes).
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import (
    AttestationUnavailable,
    hardware_evidence,
    unavailable,
)
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.protocol.evidence import Evidence

DEVICE = "/dev/nsm"
MESSAGE = 0xC0200A00
"""NSM_IOCTL_RAW: _IOWR(0x0A, 0, struct nsm_raw of 32 bytes)."""
MAX_RESPONSE = 0x3000
_RAW = struct.Struct("<QQQQ")
"""nsm_raw: address and length of the request, address and length of the response."""
_DEPTH = 4
_ERRORS = (
    "InvalidArgument",
    "InvalidIndex",
    "InvalidResponse",
    "ReadOnlyIndex",
    "InvalidOperation",
    "BufferTooSmall",
    "InputTooLarge",
    "InternalError",
)


class NitroAttester:
    """Asks for one document per piece of evidence."""

    def __init__(self, kernel: Kernel, device: Path) -> None:
        """Ask `device`."""
        self._kernel, self._device = kernel, device

    def evidence(self, report_data: bytes, key: Ed25519PrivateKey) -> Evidence:
        """See `Attester`."""
        wanted = {"user_data": report_data, "nonce": None, "public_key": None}
        content = cbor2.dumps({"Attestation": wanted})
        request = ctypes.create_string_buffer(content, len(content))
        response = ctypes.create_string_buffer(MAX_RESPONSE)
        message = bytearray(
            _RAW.pack(
                ctypes.addressof(request), len(content), ctypes.addressof(response), MAX_RESPONSE
            )
        )
        with unavailable(
            f"ask {self._device}", hint="that device is there only inside a Nitro enclave"
        ):
            self._kernel.ioctl(self._device, MESSAGE, message)
        # The kernel puts the response's length in the place of the buffer's.
        size = min(_RAW.unpack(message)[3], MAX_RESPONSE)
        return hardware_evidence("nitro", {"document": self._document(response.raw[:size])}, key)

    def _document(self, response: bytes) -> bytes:
        # Not the protocol's strict CBOR: how the module writes a map is the module's affair. What
        # is taken out is one byte string, and a client verifies that.
        try:
            answer = cbor2.loads(response, max_depth=_DEPTH, allow_duplicate_keys=False)
        # cbor2's list of exceptions is not a promise of its API.
        except Exception as error:
            raise self._odd("what does not decode") from error
        match answer:
            case {"Attestation": {"document": bytes(document)}} if answer == {
                "Attestation": {"document": document}
            }:
                return document
            case {"Error": str(name)} if name in _ERRORS:
                raise self._odd(name)
            case _:
                raise self._odd("something else than a document")

    def _odd(self, found: str) -> AttestationUnavailable:
        return AttestationUnavailable(f"{self._device} answers with {found}")
