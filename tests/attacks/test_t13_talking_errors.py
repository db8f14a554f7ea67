"""T13: exceptions and answers carry data out."""

import re
import socket
from dataclasses import fields

import numpy as np
import pytest

from fedenclave.attack_suite.world import payload_of
from fedenclave.enclave.hardening import Hardening
from fedenclave.enclave.service import Service
from fedenclave.protocol.errors import Reason, Refusal
from fedenclave.protocol.frames import AdmissionResult, Empty, Operation, Request
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Admission, Rejection
from tests.attacks.world import World

PLAIN_WORDS = re.compile(r"[a-z-]+")


def test_reasons_and_refusals_are_words_without_values() -> None:
    assert all(PLAIN_WORDS.fullmatch(member.value) for member in (*Reason, *Refusal))
    assert [field.name for field in fields(AdmissionResult)] == ["statement", "admitted", "reason"]
    said = {field.name for cls in (Admission, Rejection) for field in fields(cls)}
    # `data` is what the client's own owner has said of it for everybody (13.8), or nothing.
    envelope = {"version", "federation", "manifest", "round"}
    assert said == envelope | {"client", "update", "data", "reason"}


def test_what_is_said_of_a_rejected_update_does_not_depend_on_its_values(world: World) -> None:
    """Two updates over the bound by different amounts: the answers differ by name only."""
    world.open()
    answers = []
    for name, value in (("a", 1001.0), ("b", 31337.0)):
        payload = bytearray(payload_of(0))
        payload[:4] = np.float32(value).tobytes()
        result = world.aggregator.submit([world.forge(name, bytes(payload), num_examples=4711)])
        answers.append(Rejection.from_bytes(Signed.from_bytes(result.statement).payload))
        assert b"31337" not in result.to_bytes()
        assert b"4711" not in result.to_bytes()
    first, second = answers
    assert first.reason is second.reason is Reason.OVER_MAX_ABS
    assert (first.round, first.manifest) == (second.round, second.manifest)
    log = (world.folder / "enclave.log").read_bytes()
    assert b"31337" not in log
    assert b"4711" not in log


def test_a_text_of_the_peers_choice_is_not_signed_back(world: World) -> None:
    world.open()
    for name in ("Buy now!", "a\nb", "x" * 64, ""):
        sealed = world.forge("a", payload_of(1), client=name)
        result = world.aggregator.submit([sealed])
        rejection = Rejection.from_bytes(Signed.from_bytes(result.statement).payload)
        assert (rejection.client, rejection.reason) == ("", Reason.UNKNOWN_CLIENT)


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyError, ZeroDivisionError])
def test_the_text_of_a_defect_stays_inside(
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> Empty:
        raise error("secret 3.14159")

    ours, theirs = socket.socketpair()
    with ours, theirs:
        service = Service(theirs, Hardening(), "insecure")
        monkeypatch.setitem(service._own, Operation.STATUS, (0, fail))
        request = Request(operation=Operation.STATUS, body=Empty().to_bytes())
        reply = service._answer(request.to_bytes(), [])
    assert (reply.refusal, reply.body) == (Refusal.INTERNAL, b"")
    written = "".join(capfd.readouterr())
    assert re.fullmatch(rf"enclave: internal error: {error.__name__} at fail:\d+\n", written)
