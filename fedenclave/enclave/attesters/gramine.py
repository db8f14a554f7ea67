"""Ask Gramine for a quote: Intel SGX.

Gramine runs this process inside an SGX enclave and answers in files of its own: what is written to
`user_report_data` is in the quote that `quote` then gives. The files are this process's alone, so
that nobody can come between. `attestation_type` says how the manifest's `sgx.remote_attestation`
is set: only `dcap` gives a quote that can be verified offline (`none` gives no quote, and EPID's
verification service has been switched off).

Source: Gramine 1.8, Documentation/attestation.rst, "Low-level /dev/attestation interface".
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import (
    AttestationUnavailable,
    hardware_evidence,
    unavailable,
)
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.protocol.evidence import Evidence

FOLDER = "/dev/attestation"
TYPE = "attestation_type"
"""There in SGX alone: Gramine without SGX has the folder, and not this."""
_DCAP = b"dcap"
_MAX_TYPE = 16
_MAX_QUOTE = 1 << 16
"""Gramine's own limit is 8 KiB today."""


class GramineAttester:
    """Writes the report data and reads the quote."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        """Use the files in `folder`."""
        self._kernel, self.folder = kernel, folder

    def evidence(self, report_data: bytes, key: Ed25519PrivateKey) -> Evidence:
        """See `Attester`."""
        with unavailable(
            f"get a quote from {self.folder}", hint="those files are there only inside Gramine"
        ):
            kind = self._kernel.read(self.folder / TYPE, _MAX_TYPE)
            if kind != _DCAP:
                raise AttestationUnavailable(
                    f"Gramine's attestation type is {ascii(kind)[1:]}, want 'dcap'",
                    hint='set `sgx.remote_attestation = "dcap"` in the Gramine manifest',
                )
            self._kernel.write(self.folder / "user_report_data", report_data)
            quote = self._kernel.read(self.folder / "quote", _MAX_QUOTE)
        return hardware_evidence("sgx", {"quote": quote}, key)
