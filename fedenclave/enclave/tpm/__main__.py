"""Enrol a machine's TPM: `python -m fedenclave.enclave.tpm DEVICE [...]`, on that machine.

Without more it prints, as JSON, the attestation key's name (which a manifest pins), its public
area, and the endorsement key's certificates in PEM, as far as the TPM holds them. With
`--answer FILE` it answers the challenge in FILE, and prints what that hides, in hexadecimal. With
`--establish-counter` it defines the counter, if there is none, and prints its name and value.

The enclave itself needs none of this, and serving loads none of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import textwrap
from pathlib import Path

from fedenclave.enclave.tpm import attestation_key, counter, endorsement
from fedenclave.enclave.tpm.activation import answer_challenge
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.enclave.tpm.templates import SHA256
from fedenclave.enclave.tpm.wire import u16

_USAGE = "usage: python -m fedenclave.enclave.tpm DEVICE [--answer FILE | --establish-counter]"


def main(arguments: list[str]) -> int:
    """Run; return the exit status: 0, 1 where the TPM or a file refuses, 2 for wrong usage."""
    try:
        match arguments:
            case [device] if not device.startswith("-"):
                report = keys(device)
            case [device, "--answer", file]:
                report = {"secret": answer_challenge(device, Path(file).read_bytes()).hex()}
            case [device, "--establish-counter"]:
                report = _counter(device)
            case _:
                print(_USAGE, file=sys.stderr)
                return 2
    except TpmError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2))
    return 0


def keys(device: str) -> dict[str, object]:
    """Return what a member needs to challenge the TPM and to pin its key.

    Raises:
        TpmError: the TPM refuses.
    """
    with connected(device) as tpm:
        public = attestation_key.create(tpm).public
        certificates = endorsement.certificates(tpm)
    return {
        "attestation_key_name": (u16(SHA256) + hashlib.sha256(public).digest()).hex(),
        "attestation_key": public.hex(),
        "ek_certificates": "".join(map(_pem, certificates)),
    }


def _counter(device: str) -> dict[str, object]:
    with connected(device) as tpm:
        counter.establish(tpm)
        return {"counter_name": counter.NAME.hex(), "counter": counter.read(tpm)}


def _pem(certificate: bytes) -> str:
    lines = textwrap.wrap(base64.b64encode(certificate).decode(), 64)
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
