"""Power is lost at any write while a client's folder goes on under the next manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedenclave.client import folder as folder_module
from fedenclave.client.folder import ClientFolder
from fedenclave.client.state import ClientState
from fedenclave.protocol.manifest import Manifest
from tests.cli.conftest import BANKS, MANIFEST, Command
from tests.cli.test_amendment_commands import drafted


class Off(Exception):
    """The machine is."""


@pytest.mark.parametrize("at", range(6))
def test_a_folder_goes_on_under_the_next_manifest_after_power_was_lost(
    federation: Path, fedenclave: Command, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    path = drafted(federation, fedenclave, "weight_cap = 100000", "weight_cap = 5")
    after = Manifest.from_bytes(path.read_bytes())
    for bank in BANKS:
        ClientFolder(federation / bank).approve(path)
    folder = ClientFolder(federation / "alpha")
    for bank in ("beta", "gamma"):
        folder.add_approval(ClientFolder(federation / bank).approvals(after)[0])
    state = folder.session().state
    fields = {name: getattr(state, name) for name in ClientState.__slots__}
    folder.save_state(ClientState(**{**fields, "manifest": after.digest}).to_bytes())
    left = [at]
    write, unlink = folder_module.write_whole, Path.unlink

    def counted(do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise Off
            left[0] -= 1
            return do(*words, **options)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "write_whole", counted(write))
        patched.setattr(Path, "unlink", counted(unlink))
        with contextlib.suppress(Off):
            folder.session()
    again = ClientFolder(federation / "alpha")
    assert again.session().manifest.digest == after.digest
    assert [m.digest for m in again.former()] == [
        Manifest.from_bytes((federation / MANIFEST).read_bytes()).digest
    ]
    # At most the one in force is left there, which takes the place of nothing any more.
    assert set(again.next()) <= {after.digest}
    for bank in BANKS:
        assert ClientFolder(federation / bank).session().manifest.digest in (
            after.digest,
            again.former()[0].digest,
        )
