"""T1: num_examples is sealed on the wire and on disk; it must not show in a length."""

from __future__ import annotations

from pathlib import Path

from fedenclave.protocol.frames import AdmissionResult, Empty, Request
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.sealed_update import sealed_size
from fedenclave.protocol.sealing import seal_update
from fedenclave.protocol.signing import Signed, statement_digest
from fedenclave.protocol.statements import NO_DATA, VERSION, Announcement, UpdateHeader
from tests.enclave.test_service import KEYS, MANIFEST, MODEL, SCHEMA, opened
from tests.enclave.test_settled_release import Machine


def sealed(signed: bytes, name: str, examples: int) -> bytes:
    announcement = Announcement.from_bytes(Signed.from_bytes(signed).payload)
    header = UpdateHeader(
        version=VERSION,
        federation=announcement.federation,
        manifest=Manifest.from_bytes(MANIFEST).digest,
        round=announcement.round,
        announcement=statement_digest(signed),
        base_model=announcement.base_model,
        client=name,
        data=NO_DATA,
        schema=SCHEMA.digest,
        sealed_size=sealed_size(SCHEMA),
        checkpoint=announcement.checkpoint,
    )
    return bytes(
        seal_update(
            update=bytes(len(MODEL.payload)),
            num_examples=examples,
            schema=SCHEMA,
            header=header,
            suite=announcement.suite,
            round_key=announcement.public_key,
            signing_key=KEYS[name],
        )
    )


def test_the_length_of_the_sealed_state_does_not_tell_how_many_examples_a_client_has(
    tmp_path: Path,
) -> None:
    """On a TPM, where the state is sealed, and the operator has the file."""
    lengths = {}
    for examples in (1, 24, 256, 65_536):
        folder = tmp_path / str(examples)
        folder.mkdir()
        machine = Machine(folder)
        with opened(folder / "a", sealed(machine.open(), "a", examples)) as update:
            frame = Request(operation="admit", body=Empty().to_bytes()).to_bytes()
            reply = machine.peer.ask(frame, (update,))
        assert AdmissionResult.from_bytes(reply.body).admitted
        lengths[examples] = len(reply.transition)
        machine.peer.close()
    assert len({*lengths.values()}) == 1, f"examples and the length of what is sealed: {lengths}"
