"""Ask the virtual TPM of an Azure confidential VM for its hardware's report, and for a quote.

The paravisor below the guest asked the hardware for a report at boot, and left it in the virtual
TPM beside the key that the report speaks of. That key quotes; the quote's qualifying data is the
SHA-256 of the report data. The enclave's measurement goes into PCR 11, as with any TPM (tpm.py).

Parts: `hcl-report`, the NV index as it is; `tpm-quote` (TPMS_ATTEST), `tpm-signature`
(TPMT_SIGNATURE), `tpm-pcrs`. Certificates of the hardware are collateral.

Only machines with SEV-SNP: with TDX, a service in the host's network must turn the report into a
quote.

Source: Microsoft Learn, "Azure confidential VMs guest attestation design detail" (NV index, key).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import hardware_evidence
from fedenclave.enclave.attesters.tpm import reached
from fedenclave.enclave.tpm import nv, pcrs
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.enclave_pcr import QUOTED, check, measure
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import Evidence

REPORT_INDEX = 0x01400001
ATTESTATION_KEY = 0x81000003


class AzureVmAttester:
    """Asks for one quote per piece of evidence; the report is of the boot."""

    def __init__(self, device: Path, measurement: Digest) -> None:
        """Extend the measurement into PCR 11, unless this code did it in this boot already.

        Raises:
            AttestationUnavailable: there is no TPM to use, it is not of such a machine, or PCR 11
                holds something else.
        """
        self._device, self._measurement = str(device), measurement
        with reached():
            with connected(self._device) as tpm:
                self._report = nv.read(tpm, REPORT_INDEX)
            measure(self._device, measurement)

    def evidence(self, report_data: bytes, key: Ed25519PrivateKey) -> Evidence:
        """See `Attester`."""
        qualifying = hashlib.sha256(report_data).digest()
        with reached(), connected(self._device) as tpm:
            quote = pcrs.quote(tpm, ATTESTATION_KEY, qualifying, QUOTED)
            check(quote.values, self._measurement)
        parts = {
            "hcl-report": self._report,
            "tpm-pcrs": quote.values,
            "tpm-quote": quote.attest,
            "tpm-signature": quote.signature,
        }
        return hardware_evidence("azure-vm", parts, key)
