"""Ask a TPM 2.0 for a quote: measured boot, with the enclave's own measurement in PCR 11.

The quote's qualifying data is the SHA-256 of the report data, as a TPM takes no 64 bytes there.
Parts: `quote`, `signature`, `pcrs` and `ak`; `event-log`, `counter` and `counter-signature` where
the machine has them. Not `ek-certificates`, which go with `activations`: both are got once, when
the machine is enrolled (`python -m fedenclave.enclave.tpm`), and can be added by anyone.

A TPM says what was booted, not that the owner of the machine cannot read its memory. What a client
must pin is in `fedenclave/attestation/tpm/README.md`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import (
    MAX_PART,
    AttestationUnavailable,
    hardware_evidence,
)
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.tpm import attestation_key, counter, pcrs
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.enclave_pcr import QUOTED, check, measure
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import Evidence

DEVICE = "/dev/tpmrm0"
EVENT_LOG = "/sys/kernel/security/{tpm}/binary_bios_measurements"
_DEVICE_NAME = re.compile(r"tpm(?:rm)?(\d+)")


class TpmAttester:
    """Asks for one quote per piece of evidence."""

    def __init__(self, kernel: Kernel, device: Path, measurement: Digest) -> None:
        """Extend the measurement into PCR 11, unless this code did it in this boot already.

        Raises:
            AttestationUnavailable: there is no TPM to use, or PCR 11 holds something else.
        """
        self.device, self._measurement = str(device), measurement
        with reached():
            measure(self.device, measurement)
        self._event_log = _event_log(kernel, device)

    def evidence(self, report_data: bytes, key: Ed25519PrivateKey) -> Evidence:
        """See `Attester`."""
        parts = self._quoted(hashlib.sha256(report_data).digest())
        if self._event_log:
            parts["event-log"] = self._event_log
        return hardware_evidence("tpm", parts, key)

    def _quoted(self, qualifying: bytes) -> dict[str, bytes]:
        with reached(), connected(self.device) as tpm:
            signer = attestation_key.create(tpm)
            quote = pcrs.quote(tpm, signer.handle, qualifying, QUOTED)
            # A client would refuse it; the log here then says why.
            check(quote.values, self._measurement)
            parts = {
                "ak": signer.public,
                "pcrs": quote.values,
                "quote": quote.attest,
                "signature": quote.signature,
            }
            if counter.exists(tpm):
                certified, signature = counter.certify(tpm, signer, qualifying)
                parts.update({"counter": certified, "counter-signature": signature})
            return parts


def _event_log(kernel: Kernel, device: Path) -> bytes:
    """Return the firmware's log of what it measured; empty where this user has none to read.

    A client that wants it says so. It does not grow after the boot loader has handed over. A TPM
    that is no device of this machine, such as a socket, has none: another's log would not fit.
    """
    number = _DEVICE_NAME.fullmatch(device.name)
    if number is None:
        return b""
    try:
        return kernel.read(kernel.path(EVENT_LOG.format(tpm=f"tpm{number[1]}")), MAX_PART)
    except OSError:
        return b""


@contextmanager
def reached() -> Iterator[None]:
    """Turn what a TPM refuses into the attesters' one error."""
    try:
        yield
    except TpmError as error:
        raise AttestationUnavailable(error.message, hint=error.hint) from error
