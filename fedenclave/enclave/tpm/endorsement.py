"""The endorsement key, and the certificates by which the TPM's maker vouches for it.

Two templates are known, those of the low range: RSA-2048 and P-256, as firmware TPMs, discrete ones
and the virtual ones of clouds have them. A TPM that has certificates of the high range only has
none for us, and one whose maker wrote a template of its own is refused.

Source: TCG EK Credential Profile for TPM Family 2.0, version 2.5, section 2.2.1.4 (NV indices of
the low range) and 2.2.1.5.2 (the chain's); ITU-T X.690, section 8.1.3 (DER lengths).
"""

from __future__ import annotations

from dataclasses import dataclass

from fedenclave.enclave.tpm import nv, templates
from fedenclave.enclave.tpm.connection import ENDORSEMENT, Connection
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.enclave.tpm.objects import Key, create_primary

_CHAIN_FIRST, _CHAIN_LAST = 0x01C00100, 0x01C001FF
_LONG_SEQUENCE = b"\x30\x82"
"""A DER sequence whose length is in the next two bytes: any certificate's beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Where the certificate lies; its template's nonce and a whole template follow it."""

    certificate: int
    template: bytes

    @property
    def nonce(self) -> int:
        return self.certificate + 1

    @property
    def own_template(self) -> int:
        return self.certificate + 2


_KINDS = (
    _Kind(certificate=0x01C00002, template=templates.ENDORSEMENT_RSA),
    _Kind(certificate=0x01C0000A, template=templates.ENDORSEMENT_ECC),
)


def create(tpm: Connection) -> Key:
    """Make the endorsement key that `certificates` is about; RSA where there is no certificate.

    Raises:
        TpmError: the endorsement hierarchy cannot be used, or the template is the maker's own.
    """
    kind = _certified(tpm) or _KINDS[0]
    if nv.defined(tpm, kind.nonce, kind.own_template):
        raise TpmError(
            "the tpm's maker has written a template of its own for the endorsement key",
            hint="only the templates L-1 and L-2 of the EK credential profile are known here",
        )
    return create_primary(tpm, ENDORSEMENT, kind.template)


def certificates(tpm: Connection) -> list[bytes]:
    """Return the endorsement key's certificate, then what the TPM holds of its chain.

    Each is DER, without the padding that some makers append. Empty if the TPM has none.

    Raises:
        TpmError: they cannot be read.
    """
    kind = _certified(tpm)
    if kind is None:
        return []
    # A chain is one text, cut into as many indices as it needs.
    chain = b"".join(nv.read(tpm, i) for i in nv.defined(tpm, _CHAIN_FIRST, _CHAIN_LAST))
    return _unpadded(nv.read(tpm, kind.certificate)) + _unpadded(chain)


def _certified(tpm: Connection) -> _Kind | None:
    for kind in _KINDS:
        if nv.defined(tpm, kind.certificate, kind.certificate):
            return kind
    return None


def _unpadded(data: bytes) -> list[bytes]:
    """Return the DER sequences at the beginning of `data`. What they say is not looked at."""
    found, end = [], 0
    while data[end : end + 2] == _LONG_SEQUENCE:
        size = len(_LONG_SEQUENCE) + 2 + int.from_bytes(data[end + 2 : end + 4], "big")
        if end + size > len(data):
            raise TpmError("a certificate in the tpm ends early")
        found.append(data[end : end + size])
        end += size
    return found
