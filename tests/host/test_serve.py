"""`fedenclave aggregator run`: its configuration file, and its life as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.demo.certificates import make_server_certificate
from fedenclave.demo.ports import pick_free_ports
from fedenclave.host.remote import RemoteAggregator
from fedenclave.host.serve import READY, read_config, serve
from fedenclave.protocol.checkpoint_note import witness_key
from fedenclave.protocol.errors import ConfigurationError, RequestRefused
from fedenclave.protocol.model import Model
from fedenclave.protocol.signed_note import NoteKey, SignedNote
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import development_manifest
from tests.host.tlog_witness import HttpWitness, Log

NAMES = ["client-0", "client-1"]
EXAMPLE = Path(__file__).parents[2] / "aggregator" / "aggregator.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What an operator has: manifest, approvals, first model, TLS files; port still free."""
    arrays = {"w": np.zeros(10, np.float32)}
    model = Model(schema=schema_of(arrays), payload=bytes(pack(schema_of(arrays), arrays)))
    keys = {name: public_key(Ed25519PrivateKey.generate()) for name in NAMES}
    manifest, approvals = development_manifest(model, keys)
    (tmp_path / "federation.toml").write_bytes(manifest.source)
    (tmp_path / "approvals").mkdir()
    (tmp_path / "approvals" / "README.txt").write_text("not an approval")
    for name, approval in zip(NAMES, approvals, strict=True):
        (tmp_path / "approvals" / f"{name}.approval").write_bytes(approval)
    (tmp_path / "first-model.fem").write_bytes(model.to_bytes())
    make_server_certificate(tmp_path / "tls", now=datetime.now(UTC))
    return tmp_path


def write_config(
    folder: Path, *, port: int = 0, change: Callable[[str], str] = lambda text: text
) -> Path:
    text = (
        'folder = "state"\n'
        'manifest = "federation.toml"\n'
        'approvals = "approvals"\n'
        'model = "first-model.fem"\n'
        f'listen = "127.0.0.1:{port}"\n'
        "store_limit = 1073741824\n"
        'tee = "insecure"\n'
        "\n[tls]\n"
        'certificate = "tls/server.crt"\n'
        'key = "tls/server.key"\n'
    )
    path = folder / "aggregator.toml"
    path.write_text(change(text))
    return path


@contextmanager
def running(config: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Yield the process and its lines on stderr up to the one that says that it is ready."""
    command = [sys.executable, "-m", "fedenclave.cli", "aggregator", "run", "--config", config]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line.rstrip())
            if READY.search(line):
                break
        try:
            yield process, lines
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_enclave_deletes_ciphertext_and_exits_with_0(
    folder: Path, number: signal.Signals
) -> None:
    (port,) = pick_free_ports(1)
    root = (folder / "tls" / "ca.crt").read_bytes()
    with running(write_config(folder, port=port)) as (process, lines):
        assert lines[-1] == f"ready: serving on 127.0.0.1:{port}"
        with RemoteAggregator(f"127.0.0.1:{port}", root_certificate=root, insecure=False) as remote:
            remote.open_round(NAMES, NO_TRAINING_CONFIG)
        (enclave,) = _children(process.pid)
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert not Path(f"/proc/{enclave}").exists()
    assert list((folder / "state" / "ciphertext").glob("*.feu")) == []


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_what_is_insecure_is_said_at_the_start(folder: Path) -> None:
    def plain(text: str) -> str:
        return "insecure_plaintext = true\n" + text.partition("\n[tls]")[0]

    with running(write_config(folder, change=plain)) as (_, lines):
        told = "\n".join(lines)
    assert "insecure: development evidence" in told
    assert "insecure: plain text on 127.0.0.1:0" in told
    assert "federation development, enclave sha256:" in told


def test_a_configured_witness_cosigns_also_after_a_restart(
    folder: Path, eventually: Callable[[Callable[[], bool]], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (port,) = pick_free_ports(1)
    root = (folder / "tls" / "ca.crt").read_bytes()
    with HttpWitness(name="w.example") as witness:
        key = witness_key(witness.vkey)
        table = f'\n[witnesses."w.example"]\nurl = "{witness.url}"\nkey = "{witness.vkey}"\n'
        config = write_config(folder, port=port, change=lambda text: text + table)
        for times in (1, 2):
            with running(config) as (process, lines):
                log = NoteKey.from_text(lines[-2].strip())
                assert lines[-3] == "witnesses: w.example; to them this log is"
                witness.logs.setdefault(log.name, Log(key=log.key))
                with RemoteAggregator(
                    f"127.0.0.1:{port}", root_certificate=root, insecure=False
                ) as remote:
                    remote.open_round(NAMES, NO_TRAINING_CONFIG)
                    remote.abort_round()
                    assert eventually(
                        lambda: bool(SignedNote.from_bytes(remote.checkpoint()).verified_by(key))
                    )
                    # A run begins, or the one before has ended; a round is announced; aborted.
                    assert witness.logs[log.name].size == remote.status().log_size == 3 * times
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
    assert set(witness.statuses) <= {200, 404}


def test_a_dead_enclave_is_said_and_ends_the_aggregator_with_1(folder: Path) -> None:
    with running(write_config(folder)) as (process, _):
        (enclave,) = _children(process.pid)
        os.kill(enclave, signal.SIGKILL)
        assert process.wait(20) == 1
        assert process.stderr is not None
        told = process.stderr.read()
        assert "error: the enclave process has ended" in told
        assert "hint: started again" in told
        assert "Traceback" not in told


def test_an_error_is_two_lines_and_exit_status_1(folder: Path) -> None:
    config = write_config(folder, change=lambda text: text.replace("first-model.fem", "none.fem"))
    done = subprocess.run(
        [sys.executable, "-m", "fedenclave.cli", "aggregator", "run", "--config", config],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "error: cannot read model" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_manifest_without_enough_approvals_is_not_taken_up(folder: Path) -> None:
    (folder / "approvals" / "client-0.approval").unlink()
    with pytest.raises(RequestRefused, match="manifest-not-approved"):
        serve(read_config(write_config(folder)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "colour = 1\n" + text, "unknown keys: colour"),
        (lambda text: text + "chain = 'x'\n", "unknown keys: chain"),
        (lambda text: text.replace("store_limit = 1073741824", ""), "no store_limit"),
        (lambda text: text.replace("1073741824", "'1 GiB'"), "store_limit is str"),
        (lambda text: text.replace("1073741824", "0"), "store_limit is 0"),
        (lambda text: text.replace('tee = "insecure"', ""), "no tee"),
        (lambda text: text.replace("127.0.0.1:0", "9443"), "want host:port"),
        (lambda text: text.replace('key = "tls/server.key"', ""), "no key"),
        (lambda text: text.partition("\n[tls]")[0], "neither .* nor insecure_plaintext"),
        (lambda text: "insecure_plaintext = true\n" + text, "both .* and insecure_plaintext"),
        (lambda text: "insecure_plaintext = 'yes'\n" + text, "insecure_plaintext is str"),
        (lambda text: text + "[[", "not valid toml"),
    ],
)
def test_a_configuration_that_is_not_exact_is_refused(
    tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_config(write_config(tmp_path, change=change))


def test_a_configuration_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read configuration"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "federation.toml").unlink(), "cannot read manifest"),
        (lambda folder: (folder / "federation.toml").write_text("x"), "not valid toml"),
        (lambda folder: (folder / "first-model.fem").write_bytes(b"x"), "not a model file"),
        (lambda folder: (folder / "approvals").rename(folder / "other"), "is not there"),
        (
            lambda folder: [file.unlink() for file in (folder / "approvals").glob("*.approval")],
            "holds no file",
        ),
        (lambda folder: (folder / "state").write_text("a file"), "cannot use folder"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    config = read_config(write_config(folder))
    spoil(folder)
    with pytest.raises(ConfigurationError, match=message):
        serve(config)


def test_paths_count_from_the_files_folder(folder: Path) -> None:
    config = read_config(write_config(folder))
    assert config.manifest == folder / "federation.toml"
    assert config.tls is not None
    assert config.tls.key == folder / "tls" / "server.key"


def test_the_example_is_a_configuration() -> None:
    config = read_config(EXAMPLE)
    assert not config.insecure_plaintext
    readme = EXAMPLE.with_name("README.md").read_text()
    for key in tomllib.loads(EXAMPLE.read_text()):
        assert f"`{key}" in readme or f"`[{key}]" in readme
