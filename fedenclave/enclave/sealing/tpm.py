"""Sealing to a TPM 2.0: to the registers that the enclave's evidence quotes; and its anchor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fedenclave.enclave.sealing.sealer import SealingFailed
from fedenclave.enclave.tpm import anchor, sealing
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.protocol.digests import Digest


class TpmSealer:
    """Wraps keys under the TPM's storage key."""

    name = "tpm"
    keeps_open_rounds = True

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

    def establish_anchor(self) -> bytes:
        """See `Sealer`."""
        with _refused(), connected(self._device) as tpm:
            anchor.establish(tpm)
            return anchor.read(tpm)

    def anchor(self) -> bytes:
        """See `Sealer`."""
        with _refused(), connected(self._device) as tpm:
            return anchor.read(tpm)

    def extend(self, mark: bytes) -> bytes:
        """See `Sealer`."""
        with _refused(), connected(self._device) as tpm:
            return anchor.extend(tpm, mark)


@contextmanager
def _refused() -> Iterator[None]:
    """Turn what a TPM refuses into the sealers' one error."""
    try:
        yield
    except TpmError as error:
        raise SealingFailed(error.message, hint=error.hint) from error
