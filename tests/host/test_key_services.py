"""What the host carries between an enclave and its key services, and when it gives up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.host import key_services
from fedenclave.host.key_services import Commands, unlock
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.evidence import Evidence, EvidenceParts
from fedenclave.protocol.frames import Asked, AskRequest, Operation, UnlockRequest
from fedenclave.protocol.key_release import KeyChallenge, KeyRequest
from fedenclave.protocol.model import Model
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import key_to_text, public_key
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.simulation.federation import development_manifest

CHALLENGE = KeyChallenge(service="notary", manifest=Digest(bytes(32)), nonce=bytes(32))
EVIDENCE = Evidence(
    format="tdx", document=EvidenceParts.of({"quote": b"q"}).to_bytes(), signing_key=bytes(32)
)
REQUEST = KeyRequest(question=b"question", evidence=EVIDENCE.to_bytes()).to_bytes()
SERVICE = """
if [ -n "$(head -c 1 | tee {folder}/asked)" ]; then
    cat >> {folder}/asked
    printf share
else
    cat {folder}/challenge
fi
"""


class Asking:
    """Answers as an enclave does, and keeps what it is asked."""

    def __init__(self, request: bytes) -> None:
        self.reply, self.bodies = request, list[Record]()

    def request(self, operation: Operation, body: Record, reply: type[Any]) -> Record:
        self.bodies.append(body)
        return Asked(request=self.reply) if operation is Operation.ASK else reply()


@pytest.fixture(scope="module")
def manifest() -> bytes:
    arrays = {"w": np.zeros(3, np.float32)}
    schema = schema_of(arrays)
    model = Model(schema=schema, payload=bytes(pack(schema, arrays)))
    keys = [public_key(Ed25519PrivateKey.generate()) for _ in range(3)]
    made, _ = development_manifest(
        model, dict(zip("ab", keys[:2], strict=True)), measurement="sha256:" + "00" * 32
    )
    named = f'\n[[key_services]]\nname = "notary"\nkey = "{key_to_text(keys[2])}"\n'
    return made.source + named.encode()


def commands(folder: Path) -> Commands:
    (folder / "challenge").write_bytes(CHALLENGE.to_bytes())
    return {"notary": ("sh", "-c", SERVICE.format(folder=folder))}


def carried(enclave: Asking, manifest: bytes, reached: Commands, **parts: bytes) -> None:
    unlock(enclave, manifest, reached, parts)  # type: ignore[arg-type]


def test_challenge_request_and_answer_are_carried_as_they_are(
    manifest: bytes, tmp_path: Path
) -> None:
    enclave = Asking(REQUEST)
    carried(enclave, manifest, commands(tmp_path))
    assert enclave.bodies == [
        AskRequest(manifest=manifest, challenges=(CHALLENGE,)),
        UnlockRequest(answers=(b"share",)),
    ]
    assert (tmp_path / "asked").read_bytes() == REQUEST


def test_what_the_machine_cannot_say_itself_goes_with_its_evidence(
    manifest: bytes, tmp_path: Path
) -> None:
    carried(Asking(REQUEST), manifest, commands(tmp_path), certificates=b"c")
    asked = KeyRequest.from_bytes((tmp_path / "asked").read_bytes())
    assert asked.question == b"question"
    document = Evidence.from_bytes(asked.evidence).document
    assert EvidenceParts.from_bytes(document).by_name() == {"quote": b"q", "certificates": b"c"}


def test_an_enclave_whose_hardware_seals_is_given_no_share(manifest: bytes, tmp_path: Path) -> None:
    enclave = Asking(b"")
    carried(enclave, manifest, commands(tmp_path))
    assert len(enclave.bodies) == 1
    assert (tmp_path / "asked").read_bytes() == b""


def test_a_service_that_does_not_answer_is_not_waited_for(
    manifest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_services, "_PATIENCE_SECONDS", 0.2)
    enclave, begun = Asking(REQUEST), time.monotonic()
    with pytest.raises(ConfigurationError, match="notary gives no answer: none within"):
        carried(enclave, manifest, {"notary": ("sleep", "60")})
    assert time.monotonic() - begun < 30
    assert enclave.bodies == []
