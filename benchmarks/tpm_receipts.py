"""Receipts of rounds on a software TPM, by the tests' own federation. Only a checkout has it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.receipts import MANIFEST, keep
from tests.tpm.swtpm import Maker, SoftwareTpm, missing
from tests.tpm.world import TpmWorld


def make(folder: Path, rounds: int) -> bool:
    """Write manifest and receipts of three clients; return whether swtpm is here to do it."""
    if missing():
        return False
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "maker").mkdir()
        (place / "host").mkdir()
        tpm = SoftwareTpm(Maker(place / "maker").make(place / "state"))
        tpm.switch_on()
        try:
            _rounds(TpmWorld(place / "host", tpm), folder, rounds)
        finally:
            tpm.close()
    return True


def _rounds(world: TpmWorld, folder: Path, rounds: int) -> None:
    try:
        for _ in range(rounds):
            world.open()
            world.contribute(dict.fromkeys("abc", 1))
            world.release("abc")
        (folder / MANIFEST).write_bytes(world.manifest.source)
        for client, store in world.stores.items():
            keep(folder, client, store.receipts)
    finally:
        world.close()
