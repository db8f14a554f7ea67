"""Sealing to a TPM 2.0: to the registers that the enclave's evidence quotes, and with its counter.

The counter is used where the machine's enrolment has established one
(`python -m fedenclave.enclave.tpm DEVICE --establish-counter`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fedenclave.enclave.sealing.sealer import SealingFailed
from fedenclave.enclave.tpm import counter, sealing
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.protocol.digests import Digest


class TpmSealer:
    """Wraps keys under the TPM's storage key."""

    name = "tpm"

    def __init__(self, device: str, measurement: Digest) -> None:
        """Seal to `device`, for code of this measurement."""
        self._device, self._measurement = device, measurement

    def wrap(self, key: bytes) -> bytes:
        """See `Sealer`."""
        with _refused():
            return sealing.seal(self._device, key, self._measurement)

    def unwrap(self, wrapped: bytes) -> bytes:
        """See `Sealer`."""
        with _refused():
            return sealing.unseal(self._device, wrapped, self._measurement)

    def counter(self) -> int:
        """See `Sealer`."""
        with _refused(), connected(self._device) as tpm:
            return counter.read(tpm) if counter.exists(tpm) else 0

    def count(self) -> int:
        """See `Sealer`."""
        with _refused(), connected(self._device) as tpm:
            return counter.increment(tpm) if counter.exists(tpm) else 0


@contextmanager
def _refused() -> Iterator[None]:
    """Turn what a TPM refuses into the sealers' one error."""
    try:
        yield
    except TpmError as error:
        raise SealingFailed(error.message, hint=error.hint) from error
