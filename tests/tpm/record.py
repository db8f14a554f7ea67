"""Record what a software TPM answers: `python -m tests.tpm.record` writes `transcript.json`.

For each of the things that the enclave asks of a TPM, the commands that it sent and the responses,
in hexadecimal. The tests of what a broken TPM can answer start from these: they run where no
software TPM is installed, and nobody here made up what they take for a TPM's bytes.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attestation.tpm.activation import make_credential
from fedenclave.attestation.tpm.key import parse_public
from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.tpm import TpmAttester
from fedenclave.enclave.tpm import attestation_key, connection, counter, endorsement, sealing
from fedenclave.enclave.tpm.__main__ import keys
from fedenclave.enclave.tpm.activation import answer_challenge
from fedenclave.enclave.tpm.connection import Connection, connected
from fedenclave.protocol.digests import sha256
from tests.tpm.swtpm import Maker, SoftwareTpm

TRANSCRIPT = Path(__file__).with_name("transcript.json")
MEASUREMENT = sha256(b"this enclave")
REPORT_DATA = bytes(range(64))
STATE_KEY = bytes(range(32))
SECRET = bytes(range(32, 64))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))

Exchanges = list[tuple[str, str]]


@contextmanager
def recording(exchanges: Exchanges) -> Iterator[None]:
    """Note every exchange with a TPM."""

    class Recorder(Connection):
        def __init__(self, exchange: Callable[[bytes], bytes]) -> None:
            def noted(command: bytes) -> bytes:
                response = exchange(command)
                exchanges.append((command.hex(), response.hex()))
                return response

            super().__init__(noted)

    connection.Connection = Recorder  # type: ignore[misc]
    try:
        yield
    finally:
        connection.Connection = Connection  # type: ignore[misc]


def challenge(tpm: SoftwareTpm) -> bytes:
    """Return a challenge that hides SECRET."""
    with connected(tpm.path) as connected_:
        name = parse_public(attestation_key.create(connected_).public).name
        certificate, *_ = endorsement.certificates(connected_)
    key = x509.load_der_x509_certificate(certificate).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return make_credential(key, name, SECRET).to_file()


def record(tpm: SoftwareTpm) -> dict[str, object]:
    """Do each thing once, and return what passed."""
    kept: dict[str, str] = {}
    passed: dict[str, Exchanges] = {
        name: [] for name in ("start", "evidence", "count", "seal", "unseal", "enrol", "activate")
    }
    kept["challenge"] = challenge(tpm).hex()
    with recording(passed["start"]):
        attests = TpmAttester(Kernel(), tpm.socket, MEASUREMENT)
    with recording(passed["count"]), connected(tpm.path) as connected_:
        counter.establish(connected_)
        counter.increment(connected_)
    with recording(passed["evidence"]):
        attests.evidence(REPORT_DATA, KEY)
    with recording(passed["seal"]):
        kept["sealed"] = sealing.seal(tpm.path, STATE_KEY, MEASUREMENT).hex()
    with recording(passed["unseal"]):
        sealed = bytes.fromhex(kept["sealed"])
        assert sealing.unseal(tpm.path, sealed, MEASUREMENT) == STATE_KEY
    with recording(passed["enrol"]):
        keys(tpm.path)
    with recording(passed["activate"]):
        found = answer_challenge(tpm.path, bytes.fromhex(kept["challenge"]))
        assert found == SECRET
    return {"exchanges": passed, "kept": kept}


def main() -> None:
    """Write the transcript of a new TPM."""
    with tempfile.TemporaryDirectory(prefix="maker") as folder:
        tpm = SoftwareTpm(Maker(Path(folder)).make(Path(folder, "state")))
        tpm.switch_on()
        try:
            TRANSCRIPT.write_text(json.dumps(record(tpm), indent=1) + "\n", encoding="utf-8")
        finally:
            tpm.close()


if __name__ == "__main__":
    sys.exit(main())
