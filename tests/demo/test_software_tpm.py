"""The demonstration's own TPM: it starts, forgets at a restart what it must, and always ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.processes import ProcessGroup
from fedenclave.demo.software_tpm import MAX_SOCKET_PATH, PROGRAMS, SoftwareTpm
from fedenclave.enclave.tpm import pcrs
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.enclave_pcr import ENCLAVE_PCR
from fedenclave.host.enclave_process import collect_evidence, enrol_tpm
from fedenclave.protocol.errors import ConfigurationError
from tests.tpm.swtpm import missing

needs_swtpm = pytest.mark.skipif(bool(missing()), reason=missing())


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ProcessGroup]:
    """A group that has ended when the test has."""
    with ProcessGroup(tmp_path / "group") as group:
        yield group


def pretend(folder: Path, script: str) -> str:
    """Write programs of swtpm's names that run `script`; return the folder, for PATH."""
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


@needs_swtpm
def test_a_restart_clears_the_registers_and_keeps_key_and_counter(
    group: ProcessGroup, tmp_path: Path
) -> None:
    tpm = SoftwareTpm(tmp_path / "tpm")
    tpm.make(group)
    tpm.switch_on(group)
    device = str(tpm.socket)
    before = json.loads(enrol_tpm(device))
    counter = enrol_tpm(device, "--establish-counter")
    collect_evidence(tpm.tee, bytes(64))
    with connected(device) as connection:
        assert pcrs.read(connection, [ENCLAVE_PCR]) != pcrs.ZERO
    tpm.restart(group)
    with connected(device) as connection:
        assert pcrs.read(connection, [ENCLAVE_PCR]) == pcrs.ZERO
    assert json.loads(enrol_tpm(device)) == before
    assert enrol_tpm(device, "--establish-counter") == counter


@needs_swtpm
def test_its_certificates_lead_to_its_makers_root_and_its_folder_is_closed(
    group: ProcessGroup, tmp_path: Path
) -> None:
    # Neither a comma, at which swtpm cuts its options, nor a space or a quote is in the way.
    tpm = SoftwareTpm(tmp_path / "a, folder's")
    tpm.make(group)
    tpm.issuer.verify_directly_issued_by(tpm.root)
    assert stat.S_IMODE(tpm.folder.stat().st_mode) == 0o700
    tpm.switch_on(group)
    assert is_listening(tpm.socket)


@needs_swtpm
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_whatever_happens_it_ends(tmp_path: Path, error: type[BaseException]) -> None:
    tpm = SoftwareTpm(tmp_path / "tpm")
    with pytest.raises(error), ProcessGroup(tmp_path / "group") as group:
        (tmp_path / "tpm" / "state").mkdir(parents=True)  # a blank TPM will do
        tpm.switch_on(group)
        process = group.children[-1].process
        assert is_listening(tpm.socket)
        raise error
    assert process.poll() is not None
    assert not is_listening(tpm.socket)


@needs_swtpm
def test_a_tpm_that_dies_is_not_waited_for(group: ProcessGroup, tmp_path: Path) -> None:
    tpm = SoftwareTpm(tmp_path / "tpm")
    (tmp_path / "tpm" / "state").mkdir(parents=True)
    tpm.switch_on(group)
    os.kill(group.children[-1].process.pid, signal.SIGKILL)
    group.children[-1].process.wait()
    with pytest.raises(DeploymentError, match=r"software-tpm-1 ended early \(SIGKILL\)"):
        group.check()


def test_where_swtpm_is_absent_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="swtpm, swtpm_setup, swtpm_localca") as refusal:
        SoftwareTpm(tmp_path / "tpm")
    assert refusal.value.hint == "apt-get install swtpm swtpm-tools"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_path_is_too_long_for_a_socket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", pretend(tmp_path / "bin", "exit 0"))
    longest = Path("/" + "f" * (MAX_SOCKET_PATH - len("//socket")))
    assert len(str(SoftwareTpm(longest).socket)) == MAX_SOCKET_PATH
    with pytest.raises(ConfigurationError, match="path of 108 bytes, want at most 107"):
        SoftwareTpm(longest.with_name("é" + longest.name[2:] + "f"))
    assert not longest.exists()


def test_a_tpm_that_cannot_be_made_is_said_with_the_reason(
    group: ProcessGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pretend(tmp_path / "bin", "echo no room for a tpm; exit 1")
    monkeypatch.setenv("PATH", path + os.pathsep + os.environ["PATH"])
    tpm = SoftwareTpm(tmp_path / "tpm")
    with pytest.raises(DeploymentError, match=r"exit code 1(?s:.*)no room for a tpm"):
        tpm.make(group)
    with pytest.raises(DeploymentError, match="left no certificate"):
        tpm.root.public_key()
