"""Sealing under a key that the processor derives from itself and the code that runs: SGX, SEV-SNP.

The hardware's key never seals anything itself: what wraps is derived from it, for this purpose
alone (HKDF-SHA256, RFC 5869), with AES-256-GCM and a random nonce. Neither processor has a
register that outlives a restart.

Sources: Gramine 1.8, Documentation/attestation.rst (`keys/_sgx_mrenclave`); Linux,
include/uapi/linux/sev-guest.h (SNP_GET_DERIVED_KEY); AMD 56860, SEV-SNP firmware ABI 1.55, tables
19 and 20 (MSG_KEY_REQ, MSG_KEY_RSP).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.sealing.sealer import SealingFailed, WithoutAnchor

SGX_KEY = "keys/_sgx_mrenclave"
"""In Gramine's folder: the seal key of exactly this enclave on exactly this processor."""
_SGX_KEY_SIZE = 16

GET_DERIVED_KEY = 0xC0205301
"""SNP_GET_DERIVED_KEY: _IOWR('S', 1, struct snp_guest_request_ioctl of 32 bytes)."""
_CALL = struct.Struct("<B7xQQQ")
_MESSAGE_VERSION = 1
_KEY_REQUEST = struct.Struct("<I4xQIIQ")
"""snp_derived_key_req: root key, field select, VMPL, guest SVN, TCB version."""
_VCEK = 0
_POLICY_AND_MEASUREMENT = 1 << 0 | 1 << 3
_KEY_RESPONSE = struct.Struct("<I28x32s")
"""MSG_KEY_RSP: status, reserved, the derived key."""

_INFO = b"fedenclave/sealing/v1\x00"
_NONCE_SIZE = 12


class HardwareKeySealer(WithoutAnchor):
    """Wraps under what is derived from the hardware's key, which is asked for each time."""

    keeps_open_rounds = False
    sealed_elsewhere = "the state was sealed by other code, or on another processor"
    go_back = "start the image and the machine that it was sealed by"

    def __init__(self, name: str, hardware_key: Callable[[], bytes]) -> None:
        """Use `hardware_key`, which raises OSError or SealingFailed where there is none."""
        self.name = name
        self._hardware_key = hardware_key

    def _cipher(self) -> AESGCM:
        try:
            key = self._hardware_key()
        except OSError as error:
            raise SealingFailed(
                f"the {self.name} gives no sealing key: {error.strerror}"
            ) from error
        info = _INFO + self.name.encode()
        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key))

    def wrap(self, key: bytes) -> bytes:
        """See `Sealer`."""
        nonce = os.urandom(_NONCE_SIZE)
        return nonce + self._cipher().encrypt(nonce, key, None)

    def unwrap(self, wrapped: bytes) -> bytes:
        """See `Sealer`."""
        try:
            return self._cipher().decrypt(wrapped[:_NONCE_SIZE], wrapped[_NONCE_SIZE:], None)
        except (InvalidTag, ValueError):
            raise SealingFailed(self.sealed_elsewhere, hint=self.go_back) from None


def sgx_key(kernel: Kernel, folder: Path) -> bytes:
    """Return SGX's seal key of this enclave, 16 bytes.

    Raises:
        OSError: Gramine gives none.
        SealingFailed: it gives something else.
    """
    key = kernel.read(folder / SGX_KEY, _SGX_KEY_SIZE)
    if len(key) != _SGX_KEY_SIZE:
        raise SealingFailed(f"gramine's seal key has {len(key)} bytes, want {_SGX_KEY_SIZE}")
    return key


def snp_key(kernel: Kernel, device: Path) -> bytes:
    """Return a key that SEV-SNP derives from the chip's for this guest's policy and measurement.

    Not from its TCB, so that firmware can be updated where the chip's own key allows it.

    Raises:
        OSError: the driver or the firmware refuses.
        SealingFailed: the firmware answers with an error.
    """
    request = ctypes.create_string_buffer(
        _KEY_REQUEST.pack(_VCEK, _POLICY_AND_MEASUREMENT, 0, 0, 0), _KEY_REQUEST.size
    )
    response = ctypes.create_string_buffer(_KEY_RESPONSE.size)
    call = bytearray(
        _CALL.pack(_MESSAGE_VERSION, ctypes.addressof(request), ctypes.addressof(response), 0)
    )
    kernel.ioctl(device, GET_DERIVED_KEY, call)
    status, key = _KEY_RESPONSE.unpack(response.raw)
    if status or not any(key):
        raise SealingFailed(f"{device} derives no key: status {status}")
    return bytes(key)
