"""T7: an honest client does not take an honest host's older note for a log that was wound back."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from fedenclave.enclave.sealing.sealer import SealingFailed
from tests.attacks.world import World
from tests.enclave.test_journal import AnchoredSealer
from tests.honest.enclave_in_thread import run_enclaves_in_threads


class Busy(AnchoredSealer):
    """A register that does not answer the reading after so many more; -1 for never."""

    left = -1

    def anchor(self) -> bytes:
        self.left -= 1
        if self.left == -1:
            raise SealingFailed("the tpm is busy")
        return super().anchor()


def test_a_note_that_could_not_be_signed_this_time_makes_no_client_cry_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host goes on without a newer note, as it may, and hands out the one before.

    Its client holds the round's end, which is later: "the enclave was rolled back or forked".
    """
    machine = Busy()
    run_enclaves_in_threads(monkeypatch, machine)
    with contextlib.closing(World(tmp_path / "host")) as world:
        world.open()
        world.contribute({"a": 1, "b": 1, "c": 1})
        before = world.coordinator.checkpoint()
        machine.left = 2  # `close` and `fetch` are answered, `note` is not
        world.release("abc")
        note = world.coordinator.checkpoint()
        assert note == before
        session = world.sessions["a"]
        part = world.coordinator.log_part_for("a")
        session.take_log(part)
        session.take_checkpoint(note, part)
