"""Start the enclave process: `python -m fedenclave.enclave --fd N --tee CHOICE`.

Other modes print something and end: `--measure` the measurement of this code as JSON, `--modules`
what a serving process has loaded, `--collect` evidence over a challenge, as bytes, under a key that
was made for it and is forgotten. Hardening comes first, then the libraries, then our own
measured code. CHOICE: see `attesters/choose.py`.

Exit status 3, with `error:` and `hint:` on stderr: there is no evidence to be had by that choice.
"""

from __future__ import annotations

import os
import re
import sys

# Set before numpy loads its BLAS: its own threads would fight with the two workers, and a norm
# must not depend on the number of cores.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

_USAGE = (
    "usage: python -m fedenclave.enclave "
    "--fd N --tee CHOICE | --collect CHOICE CHALLENGE_HEX | --measure | --modules"
)
_CHALLENGE = re.compile(r"(?:[0-9a-f]{2})+")
_NO_EVIDENCE = 3


def main(arguments: list[str]) -> int:
    """Run one of the four modes; return the exit status."""
    match arguments:
        case ["--fd", number, "--tee", tee] if number.isdecimal():
            return _serve(int(number), tee)
        case ["--collect", tee, challenge] if _CHALLENGE.fullmatch(challenge):
            return _collect(tee, bytes.fromhex(challenge))
        case ["--measure"]:
            return _measure()
        case ["--modules"]:
            return _modules()
        case _:
            print(_USAGE, file=sys.stderr)
            return 2


def _load_libraries() -> None:
    """Import the libraries from their caches, then forbid caches for what is measured.

    The measurement is of source files; a planted cache file must not run in their place.
    """
    sys.pycache_prefix = None
    import cbor2  # noqa: F401
    import numpy  # noqa: F401

    sys.dont_write_bytecode = True
    sys.pycache_prefix = os.devnull


def _serve(descriptor: int, tee: str) -> int:
    from fedenclave.enclave.hardening import harden

    hardening = harden()
    _load_libraries()
    import signal
    import socket

    from fedenclave.enclave.attesters.attester import AttestationUnavailable
    from fedenclave.enclave.service import Service

    # The host decides when the enclave ends, by closing the socket: not a Ctrl-C at its terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as connection:
        try:
            service = Service(connection, hardening, tee)
        except AttestationUnavailable as error:
            return _no_evidence(error.why, error.hint)
        try:
            service.run()
        except (EOFError, ConnectionError):
            return 0
    return 0


def _collect(tee: str, challenge: bytes) -> int:
    from fedenclave.enclave.hardening import harden

    hardening = harden()
    _load_libraries()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedenclave.enclave.attesters.attester import AttestationUnavailable
    from fedenclave.enclave.attesters.choose import choose
    from fedenclave.enclave.attesters.kernel import Kernel
    from fedenclave.enclave.measured import read_measured_code
    from fedenclave.protocol.evidence import collected_report_data

    measurement, protections = read_measured_code().measurement, hardening.protections
    try:
        attester = choose(tee, measurement=measurement, protections=protections, kernel=Kernel())
        evidence = attester.evidence(
            # Never the caller's own bytes: see there.
            collected_report_data(challenge),
            Ed25519PrivateKey.generate(),
        )
    except AttestationUnavailable as error:
        return _no_evidence(error.why, error.hint)
    sys.stdout.buffer.write(evidence.to_bytes())
    return 0


def _no_evidence(why: str, hint: str) -> int:
    print(f"error: {why}\nhint: {hint}", file=sys.stderr)
    return _NO_EVIDENCE


def _measure() -> int:
    _load_libraries()
    import json

    from fedenclave.enclave.measured import read_measured_code
    from fedenclave.protocol.digests import to_text

    code = read_measured_code()
    report = {
        "measurement": to_text(code.measurement),
        "files": {file.path: to_text(file.digest) for file in code.files},
        "versions": {version.name: version.version for version in code.versions},
    }
    print(json.dumps(report, indent=2))
    return 0


def _modules() -> int:
    _load_libraries()
    import signal  # noqa: F401

    import fedenclave.enclave.hardening
    import fedenclave.enclave.service  # noqa: F401

    print("\n".join(sorted(sys.modules)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
