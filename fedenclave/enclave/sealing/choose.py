"""Which sealer goes with which attester: what vouches for this code also keeps its keys.

None for Nitro, TDX, CCA, Confidential Space and Azure: their hardware seals nothing for a guest. A
key for those is released to attested code by a key service (KMS), which is not here yet, so an
enclave there begins anew after a restart, under a new signing key.
"""

from __future__ import annotations

from functools import partial

from fedenclave.enclave.attesters import sev_guest
from fedenclave.enclave.attesters.attester import Attester
from fedenclave.enclave.attesters.configfs_tsm import TsmAttester
from fedenclave.enclave.attesters.gramine import GramineAttester
from fedenclave.enclave.attesters.insecure import InsecureAttester
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.sev_guest import SevGuestAttester
from fedenclave.enclave.attesters.tpm import TpmAttester
from fedenclave.enclave.sealing.hardware_key import HardwareKeySealer, sgx_key, snp_key
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.sealing.sealer import Sealer
from fedenclave.enclave.sealing.tpm import TpmSealer
from fedenclave.protocol.digests import Digest


def choose_sealer(attester: Attester, *, measurement: Digest, kernel: Kernel) -> Sealer | None:
    """Return the sealer of the machine that `attester` speaks for; None where it has none."""
    match attester:
        case InsecureAttester():
            return InsecureSealer()
        case TpmAttester():
            return TpmSealer(attester.device, measurement)
        case GramineAttester():
            return HardwareKeySealer("sgx", partial(sgx_key, kernel, attester.folder))
        case SevGuestAttester():
            return HardwareKeySealer("sev-snp", partial(snp_key, kernel, attester.device))
        case TsmAttester(format="sev-snp"):
            device = kernel.path(sev_guest.DEVICE)
            return HardwareKeySealer("sev-snp", partial(snp_key, kernel, device))
    return None
