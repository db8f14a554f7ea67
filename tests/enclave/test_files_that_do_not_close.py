"""T11: close(2) reports what a file system could not write (NFS, FUSE, a quota). It may fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedenclave.enclave import service
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.protocol.frames import Empty, Request
from tests.enclave.test_resume import again
from tests.enclave.test_service import Peer, opened, start
from tests.enclave.test_winding_back import SIX, Windable


def failing(descriptor: int) -> None:
    """Close as Linux does where the file system reports an error: the descriptor is gone."""
    os.close(descriptor)
    raise OSError(5, "Input/output error")


def test_a_round_does_not_end_by_half_where_an_update_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enclave = Windable(0, InsecureSealer())
    first = again(enclave.base)
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX, 1))
    with monkeypatch.context() as patch:
        patch.setattr(HostFile, "close", lambda file: failing(file._descriptor))
        try:
            enclave.end()
        except OSError:
            enclave.write()  # the service sends the transition with the refusal
    # The release is signed and sealed, and the round is still there; so the host tries to abort.
    try:
        enclave.federation.abort_round(2)
    except OSError:
        enclave.write()
    except Exception:  # noqa: S110  # refused: the round has ended
        pass
    enclave.resume(enclave.segment, first)  # and the state must be one that can be taken up


def test_a_descriptor_that_does_not_close_does_not_end_the_enclave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Peer()
    start(peer, tmp_path)

    class Failing:
        close = staticmethod(failing)

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

    request = Request(operation="status", body=Empty().to_bytes()).to_bytes()
    monkeypatch.setattr(service, "os", Failing())
    with opened(tmp_path / "any", b"any") as file:
        answer = peer.ask(request, [file])
    assert answer.refusal == "malformed-request"
    monkeypatch.undo()
    assert peer.status()[0] == "idle"
