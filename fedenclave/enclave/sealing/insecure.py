"""Development: the key lies open in front of what it seals, and says so."""

from __future__ import annotations

from fedenclave.enclave.sealing.sealer import KEY_SIZE, SealingFailed, WithoutAnchor
from fedenclave.protocol.evidence import INSECURE

_LABEL = b"insecure: whoever reads this can open the state behind it\x00"


class InsecureSealer(WithoutAnchor):
    """Seals nothing: a crash loses nothing, and nothing is kept from the host."""

    name = INSECURE
    keeps_open_rounds = True
    """There is nothing to lose: the keys lie open."""

    def wrap(self, key: bytes) -> bytes:
        """Return the key behind a warning."""
        return _LABEL + key

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the key from behind the warning."""
        if not wrapped.startswith(_LABEL) or len(wrapped) != len(_LABEL) + KEY_SIZE:
            raise SealingFailed("the state was not sealed in development mode")
        return wrapped[len(_LABEL) :]
