"""Every evidence format that this version appraises, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedenclave.attestation import insecure
from fedenclave.attestation.amd import sev_snp
from fedenclave.attestation.arm import cca, psa
from fedenclave.attestation.aws import nitro
from fedenclave.attestation.azure import confidential_vm, maa
from fedenclave.attestation.format import Format
from fedenclave.attestation.google import confidential_space
from fedenclave.attestation.intel import sgx, tdx
from fedenclave.attestation.nvidia import format as nvidia_gpu
from fedenclave.attestation.tpm import quote_format as tpm

FORMATS: Mapping[str, Format[Any]] = {
    format_.name: format_
    for format_ in (
        maa.FORMAT,
        confidential_vm.FORMAT,
        cca.FORMAT,
        confidential_space.FORMAT,
        insecure.FORMAT,
        nitro.FORMAT,
        psa.FORMAT,
        sev_snp.FORMAT,
        sgx.FORMAT,
        tdx.FORMAT,
        tpm.FORMAT,
    )
}
"""What a manifest can name."""

ALL_FORMATS: Mapping[str, Format[Any]] = {
    **FORMATS,
    nvidia_gpu.FORMAT.name: nvidia_gpu.FORMAT,
}
"""And what can be inspected and verified alone, but vouches for no enclave by itself."""
