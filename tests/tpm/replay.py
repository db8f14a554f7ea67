"""A TPM out of a transcript: it answers as the recorded one did, or as a test damages it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedenclave.enclave.attesters.kernel import Kernel
from fedenclave.enclave.attesters.tpm import TpmAttester
from fedenclave.enclave.tpm import connection, counter, sealing
from fedenclave.enclave.tpm.__main__ import keys
from fedenclave.enclave.tpm.activation import answer_challenge
from fedenclave.enclave.tpm.connection import Command, connected
from fedenclave.enclave.tpm.device import Device
from fedenclave.protocol.evidence import Evidence
from tests.tpm.record import KEY, MEASUREMENT, REPORT_DATA, STATE_KEY, TRANSCRIPT

RECORDED: dict[str, Any] = json.loads(TRANSCRIPT.read_text(encoding="utf-8"))
LOADING = {Command.CREATE_PRIMARY, Command.LOAD, Command.START_AUTH_SESSION}
UNKNOWN_HANDLE = bytes.fromhex("80010000000a000001cb")

Damage = Callable[[int, bytes], bytes]
"""Returns what takes the place of the n-th response."""


def code_of(command: bytes) -> int:
    """Return the command's code."""
    return int.from_bytes(command[6:10], "big")


class Replay:
    """Answers a command with what was recorded for it, or else for its code; the last repeats."""

    def __init__(self, *scenarios: str, damage: Damage = lambda _, response: response) -> None:
        self._answers: dict[bytes | int, list[bytes]] = {}
        for scenario in scenarios:
            for command, response in RECORDED["exchanges"][scenario]:
                sent, got = bytes.fromhex(command), bytes.fromhex(response)
                self._answers.setdefault(sent, []).append(got)
                self._answers.setdefault(code_of(sent), []).append(got)
        self._damage = damage
        self._response = b""
        self.count = 0
        self.commands: list[int] = []
        self.loaded: set[bytes] = set()

    def claim(self) -> None:
        """Do nothing: nobody else plays."""

    def send(self, command: bytes) -> None:
        """Take a command, and have its response ready."""
        assert int.from_bytes(command[2:6], "big") == len(command)
        self.commands.append(code_of(command))
        self._response = self._damage(self.count, self._answer(command))
        self.count += 1

    def _answer(self, command: bytes) -> bytes:
        code = code_of(command)
        if code == Command.FLUSH_CONTEXT and command[10:] not in self.loaded:
            return UNKNOWN_HANDLE
        answers = self._answers.get(command) or self._answers[code]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if code == Command.FLUSH_CONTEXT:
            self.loaded.remove(command[10:])
        if code in LOADING:
            self.loaded.add(answer[10:14])
        return answer

    def receive(self, size: int) -> bytes:
        """Return the response in one piece, as a device does."""
        response, self._response = self._response[:size], b""
        return response

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def playing(replay: Replay) -> Iterator[None]:
    """Have the enclave's code talk to `replay`, through the rest of its own transport."""

    @contextmanager
    def opened(_: str) -> Iterator[Device]:
        yield Device(replay)

    real = connection.opened, connection.PAUSES
    connection.opened, connection.PAUSES = opened, (0.0,) * len(real[1])
    try:
        yield
    finally:
        connection.opened, connection.PAUSES = real


def start() -> TpmAttester:
    """Start an enclave."""
    return TpmAttester(Kernel(Path("/nonexistent")), Path("tpm"), MEASUREMENT)


def evidence() -> Evidence:
    """Ask a started enclave for evidence."""
    attester = TpmAttester.__new__(TpmAttester)
    attester.device, attester._event_log = "tpm", b""
    attester._measurement = MEASUREMENT
    return attester.evidence(REPORT_DATA, KEY)


def count() -> int:
    """Define the counter and increment it."""
    with connected("tpm") as tpm:
        counter.establish(tpm)
        return counter.increment(tpm)


SCENARIOS: dict[str, Callable[[], object]] = {
    "start": start,
    "evidence": evidence,
    "count": count,
    "seal": lambda: sealing.seal("tpm", STATE_KEY, MEASUREMENT),
    "unseal": lambda: sealing.unseal("tpm", bytes.fromhex(RECORDED["kept"]["sealed"]), MEASUREMENT),
    "enrol": lambda: keys("tpm"),
    "activate": lambda: answer_challenge("tpm", bytes.fromhex(RECORDED["kept"]["challenge"])),
}
