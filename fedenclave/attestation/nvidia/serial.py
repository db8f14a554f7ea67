"""Serial numbers of certificates: what devices and OCSP answers are named by.

RFC 5280, section 4.1.2.2, wants them positive and at most 20 bytes long, and NVIDIA's are;
`cryptography` warns about others when they are asked for, which must not be the caller's matter.
"""

from __future__ import annotations

import warnings

from cryptography import x509

from fedenclave.protocol.errors import MalformedMessage

MAX_BITS = 160


def serial_number(certificate: x509.Certificate) -> int:
    """Return the serial number.

    Raises:
        MalformedMessage: it is not positive, or too long.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        number = certificate.serial_number
    if not 0 < number < 1 << MAX_BITS:
        raise MalformedMessage(f"certificate has a serial number that is not 1 to {MAX_BITS} bits")
    return number
