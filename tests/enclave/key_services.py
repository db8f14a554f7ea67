"""A federation in TDX guests whose state opens by what two key services release.

The trust domain is a fake kernel's, its quotes a fake Intel's; enclave and services are real.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attestation import formats
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.endorsements import Endorsements
from fedenclave.attestation.intel import tdx
from fedenclave.enclave import service as service_module
from fedenclave.enclave.hardening import Hardening
from fedenclave.enclave.service import Service
from fedenclave.membership.key_service import ShareKeeper, new_keys
from fedenclave.protocol import key_release, segment
from fedenclave.protocol.frames import (
    Asked,
    AskRequest,
    EvidenceRequest,
    OpenRequest,
    Operation,
    Reply,
    Request,
    Resumed,
    ResumeRequest,
    Started,
    StartRequest,
    UnlockRequest,
)
from fedenclave.protocol.key_release import KeyChallenge
from fedenclave.protocol.manifest import Client, Manifest, Member
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import public_key, sign
from fedenclave.protocol.statements import VERSION, Approval, Suite
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.attestation import fake_intel
from tests.enclave.fake_kernel import ConfigfsTsm, FakeKernel
from tests.enclave.test_evidence_end_to_end import filled
from tests.enclave.test_service import KEYS, MODEL, SCHEMA, Peer, opened

NOW = fake_intel.NOW
NAMES = ("notary", "regulator")
OURS = "44" * 48
"""The MRTD of the approved image, as the fake Intel's quotes say it."""

HEAD = """\
[attestation]
freshness_seconds = 600
collateral_max_age_seconds = 3456000
revocations = "none"
[attestation.tdx]
"""


MEMBERS = {name: Ed25519PrivateKey.generate() for name in KEYS}
REGISTERS = {f"rtmr{number}": bytes([0x50 + number]) * 48 for number in range(4)}


class Guest(Peer):
    """A TDX guest with a service in it, and its host, who writes down what it seals."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel, self.segment = kernel, b""
        super().__init__()
        self.status()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(EOFError, ConnectionError):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(service_module, "Kernel", lambda: self.kernel)
                self.service = Service(connection, Hardening(), "tdx")
            self.service.run()

    def ask(self, frame: bytes, descriptors: tuple[int, ...] = ()) -> Reply:
        reply = super().ask(frame, descriptors)
        begun = segment.begins_segment(reply.transition)
        self.segment = reply.transition if begun else self.segment + reply.transition
        return reply

    def do(self, operation: str, body: Record, descriptors: tuple[int, ...] = ()) -> Reply:
        return self.ask(Request(operation=operation, body=body.to_bytes()).to_bytes(), descriptors)

    def asked(self, manifest: Manifest, challenges: list[bytes]) -> bytes:
        """Return the request to the key services, encoded."""
        read = tuple(map(KeyChallenge.from_bytes, challenges))
        reply = self.do(Operation.ASK, AskRequest(manifest=manifest.source, challenges=read))
        assert reply.refusal == ""
        return Asked.from_bytes(reply.body).request

    def unlocked(self, *answers: bytes) -> str:
        """Return the refusal; empty where the enclave takes the answers."""
        return self.do(Operation.UNLOCK, UnlockRequest(answers=answers)).refusal

    def begin(self, world: World, folder: Path) -> Reply:
        request = StartRequest(**world.agreed(), payload_offset=0, time=1)
        with opened(folder / "model", bytes(MODEL.payload)) as model:
            return self.do(Operation.START, request, (model,))

    def start(self, world: World, folder: Path) -> Started:
        reply = self.begin(world, folder)
        assert reply.refusal == ""
        return Started.from_bytes(reply.body)

    def resume(self, world: World, data: bytes, folder: Path) -> Reply:
        request = ResumeRequest(**world.agreed(), payload_offset=0, log_size=0)
        with (
            opened(folder / "model", bytes(MODEL.payload)) as model,
            opened(folder / "segment", data) as sealed,
        ):
            return self.do(Operation.RESUME, request, (model, sealed))

    def resumed(self, world: World, data: bytes, folder: Path) -> Resumed:
        reply = self.resume(world, data, folder)
        assert reply.refusal == ""
        return Resumed.from_bytes(reply.body)

    def open_round(self) -> None:
        cohort = OpenRequest(cohort=("a", "b"), training_config=NO_TRAINING_CONFIG, time=2)
        assert self.do(Operation.OPEN, cohort).refusal == ""

    def evidence(self, nonce: bytes) -> bytes:
        reply = self.do(Operation.EVIDENCE, EvidenceRequest(nonce=nonce))
        assert reply.refusal == ""
        return reply.body


class World:
    """Members, a manifest, its key services, and a vendor."""

    def __init__(self, names: tuple[str, ...] = NAMES) -> None:
        self.intel = fake_intel.FakeIntel()
        self.endorsements = Endorsements(collateral=from_mapping(self.intel.collateral("TDX"), NOW))
        self.format = tdx.make_format(self.intel.root)
        self.keys = {name: new_keys() for name in names}
        self.manifest = self.make_manifest()
        self.guests: list[Guest] = []

    def make_manifest(self, name: str = "sealed-elsewhere") -> Manifest:
        return Manifest.from_bytes(
            write_manifest(
                ManifestDraft(
                    name=name,
                    threshold=2,
                    development=False,
                    members=[Member(name=n, key=public_key(k)) for n, k in MEMBERS.items()],
                    clients=[Client(name=n, member=n, key=public_key(k)) for n, k in KEYS.items()],
                    freshness_seconds=600,
                    insecure_measurements=[],
                    suite=Suite.X25519,
                    schema=SCHEMA.digest,
                    initial_model=MODEL.digest(),
                    rules=replace(DEFAULT_RULES, min_cohort=2),
                    attestation=HEAD + self.policy(),
                    key_services=[
                        key_release.KeyService(name=n, key=public_key(key))
                        for n, (key, _) in self.keys.items()
                    ],
                )
            )
        )

    def policy(self) -> str:
        registers = {name: f'["{value.hex()}"]' for name, value in REGISTERS.items()}
        return filled(self.format, mrtd=f'["{OURS}"]', **registers)

    def agreed(self) -> dict[str, object]:
        said = {"version": VERSION, "federation": self.manifest.name}
        approvals = tuple(
            sign(Approval(manifest=self.manifest.digest, member=n, **said), key)
            for n, key in MEMBERS.items()
        )
        return {
            "manifest": self.manifest.source,
            "approvals": approvals,
            "schema": SCHEMA.to_bytes(),
        }

    def service(self, name: str) -> ShareKeeper:
        return ShareKeeper(self.manifest, *self.keys[name])

    def challenges(self, now: int = NOW) -> list[bytes]:
        return [self.service(name).challenge(now) for name in self.keys]

    def released(self, name: str, request: bytes, now: int = NOW) -> bytes:
        return self.service(name).release(request, now, self.endorsements).answer

    def answers(self, request: bytes) -> list[bytes]:
        return [self.released(name, request) for name in self.keys]

    def guest(self, **quote: object) -> Guest:
        """Return a new guest; `quote` is what differs in it from the approved image."""
        said = {**REGISTERS, **quote}
        tsm = ConfigfsTsm("tdx_guest", lambda data: self.intel.td_quote(report_data=data, **said))
        self.guests.append(Guest(FakeKernel(tsm=tsm)))
        return self.guests[-1]

    def unlocked(self, **quote: object) -> Guest:
        guest = self.guest(**quote)
        request = guest.asked(self.manifest, self.challenges())
        assert guest.unlocked(*self.answers(request)) == ""
        return guest

    def close(self) -> None:
        for guest in self.guests:
            guest.close()


def know(world: World, patched: pytest.MonkeyPatch) -> None:
    """Have the fake Intel be the one that this process trusts."""
    for listed in (formats.FORMATS, formats.ALL_FORMATS):
        patched.setitem(listed, "tdx", world.format)  # type: ignore[arg-type]
