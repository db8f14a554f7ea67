"""Development mode: the process vouches for itself, and says that this is worth nothing.

SPEC.md, section 9.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import INSECURE, INSECURE_WARNING, Evidence, InsecureDocument
from fedenclave.protocol.signing import public_key, sign


class InsecureAttester:
    """Signs what the process measured of itself."""

    def __init__(self, measurement: Digest, protections: Sequence[str]) -> None:
        """Keep what was measured and which protections hold."""
        self._measurement = measurement
        self._protections = protections  # read when asked: one may be lost

    def evidence(self, report_data: bytes, key: Ed25519PrivateKey) -> Evidence:
        """Return the self-signed document."""
        document = InsecureDocument(
            warning=INSECURE_WARNING,
            report_data=report_data,
            measurement=self._measurement,
            protections=tuple(self._protections),
        )
        return Evidence(format=INSECURE, document=sign(document, key), signing_key=public_key(key))
