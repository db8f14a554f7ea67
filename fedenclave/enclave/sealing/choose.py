"""Which sealer goes with which attester: what vouches for this code also keeps its keys.

None for Nitro, TDX, CCA, Confidential Space and Azure: their hardware seals nothing for a guest.
There the key is what the federation's key services release to attested code (released_key.py);
without, an enclave begins anew after a restart, under a new signing key.
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

_NO_SEALING = (
    "nothing on this machine seals the enclave's state: after a restart it is another enclave, and "
    "the members begin anew"
)
_NO_ANCHOR = (
    "nothing on this machine knows which state is the newest: a restart aborts the open round, and "
    "that the state was wound back is for the clients to see"
)


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


def shortcomings(sealer: Sealer | None) -> tuple[str, ...]:
    """Return what a restart loses under `sealer`, for people."""
    if sealer is None:
        return (_NO_SEALING,)
    return () if sealer.keeps_open_rounds else (_NO_ANCHOR,)
