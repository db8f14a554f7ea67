"""Where an app's process may write and whom it may connect to, as the kernel holds it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.datasets.node_data import NodeData
from fedenclave.keys.keyring import create_keyring
from fedenclave.keys.pkcs11_signing import make_signer
from fedenclave.node.bound import Confinement, bound
from fedenclave.node.data_access import access_to
from fedenclave.node.landlock import NETWORK_LEVEL, level
from tests.keys.softhsm import soft_token

pytestmark = pytest.mark.skipif(
    level() < NETWORK_LEVEL, reason="this kernel has no Landlock that knows of TCP"
)


def run(code: str, confinement: Confinement | None, *words: object) -> str:
    """Run Python code as an app is run; return what it printed, or the exception's name."""
    wrapped = (
        "import sys\ntry:\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
        + "except OSError as error:\n    print(type(error).__name__)\n"
    )
    command = [sys.executable, "-c", wrapped, *map(str, words)]
    done = subprocess.run(
        bound(command, os.getpid(), confinement),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return (done.stdout + done.stderr).strip()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("data")
    return folder


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


WRITES = """
from pathlib import Path
import os
own, other = Path(sys.argv[1]), Path(sys.argv[2])
(own / "state.new").write_text("x")
os.replace(own / "state.new", own / "state")
os.replace(own / "state", own / "sub" / "state")
(own / "sub" / "state").unlink()
open("/dev/null", "w").write("x")
print((other / "file").read_text(), "written")
"""


def test_an_app_writes_its_own_folder_and_reads_others(own: Path, tmp_path: Path) -> None:
    confinement = Confinement(write=(own,), connect=())
    assert run(WRITES, confinement, own, tmp_path / "other") == "data written"


@pytest.mark.parametrize(
    "code",
    [
        "open(sys.argv[1] + '/new', 'w')",
        "open(sys.argv[1] + '/file', 'a')",
        "import os; os.truncate(sys.argv[1] + '/file', 0)",
        "import os; os.unlink(sys.argv[1] + '/file')",
        "import os; os.mkdir(sys.argv[1] + '/new')",
        "import os; os.symlink('/', sys.argv[1] + '/new')",
        "import os; os.rename(sys.argv[1] + '/file', sys.argv[2] + '/file')",
        "import os; os.link(sys.argv[1] + '/file', sys.argv[2] + '/file')",
        # What it starts is confined with it.
        "import subprocess; print('OSError' if subprocess.run(['touch', sys.argv[1] + '/new'], "
        "stderr=-3).returncode else 'done')",
    ],
)
def test_an_app_changes_nothing_elsewhere(own: Path, tmp_path: Path, code: str) -> None:
    other = tmp_path / "other"
    confinement = Confinement(write=(own,), connect=())
    assert "Error" in run(code, confinement, other, own)
    assert [path.name for path in other.iterdir()] == ["file"]
    assert (other / "file").read_text() == "data"
    # It is the confinement that holds it: without one the same is done.
    assert "Error" not in run(code, None, other, own)


CONNECT = """
import socket
socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5).close()
print("connected")
"""


def test_an_app_connects_to_its_ports_and_to_no_others(own: Path, listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    assert run(CONNECT, Confinement(write=(own,), connect=(port,)), port) == "connected"
    assert run(CONNECT, Confinement(write=(own,), connect=(9,)), port) == "PermissionError"
    assert run(CONNECT, None, port) == "connected"
    serve = "import socket; socket.create_server(('127.0.0.1', 0))"
    assert run(serve, Confinement(write=(own,), connect=(port,))) == "PermissionError"


def test_an_app_signals_nobody_else(own: Path) -> None:
    code = "import os; os.kill(int(sys.argv[1]), 0)"
    assert run(code, Confinement(write=(own,), connect=()), os.getpid()) == "PermissionError"
    assert run(code, None, os.getpid()) == ""


def test_a_folder_that_is_not_there_starts_nothing(own: Path) -> None:
    confinement = Confinement(write=(own, own / "none"), connect=())
    printed = run("print('ran')", confinement)
    assert printed.startswith(f"error: an app may write below {own / 'none'}")
    assert "hint: " in printed
    assert "ran" not in printed


def test_a_single_file_is_made_and_appended_to_and_its_neighbours_are_not(
    own: Path, tmp_path: Path
) -> None:
    log = tmp_path / "other" / "ring.audit.jsonl"
    confinement = Confinement(write=(own,), append=(log,), connect=())
    code = "open(sys.argv[1], 'a').write('event')"
    assert run(code, confinement, log) == ""
    assert log.read_text() == "event"
    assert log.stat().st_mode & 0o077 == 0
    for name in ("ring", "file", "ring.audit.jsonl.1"):
        assert run(code, confinement, log.with_name(name)) == "PermissionError"
    assert run("import os; os.unlink(sys.argv[1])", confinement, log) == "PermissionError"
    log.unlink()
    log.symlink_to(tmp_path / "other" / "file")
    assert run(code, confinement, log).startswith(f"error: an app may write {log}")


@pytest.mark.parametrize(
    ("data", "appended", "ports"),
    [
        (NodeData(), (), ()),
        (
            NodeData(dataset="/d", keys="keyring:/k/ring", passphrase_file="/p"),
            ("/k/ring.audit.jsonl",),
            (),
        ),
        (NodeData(dataset="/d", keys="aws-kms:arn:aws:kms:x:1:alias/a"), (), (80, 443)),
        (NodeData(dataset="/d", keys="vault:https://vault.example:8200#transit/a"), (), (8200,)),
        (NodeData(dataset="/d", keys="vault:https://vault.example#transit/a"), (), (443,)),
        (NodeData(dataset="/d", keys="vault:https://vault.example:x#transit/a"), (), ()),
        (NodeData(dataset="/d", keys="pkcs11:token=a;object=b"), (), ()),
        (
            NodeData(dataset="s3://bucket/d", keys="keyring:/k/ring", passphrase_file="/p"),
            ("/k/ring.audit.jsonl",),
            (80, 443),
        ),
    ],
)
def test_what_the_owner_names_as_data_is_reached(
    data: NodeData, appended: tuple[str, ...], ports: tuple[int, ...]
) -> None:
    access = access_to(data)
    assert access.append == tuple(map(Path, appended))
    assert access.connect == ports
    assert not access.write


def test_sealed_data_with_their_keyring_elsewhere_are_opened_by_an_app(
    own: Path, tmp_path: Path
) -> None:
    (tmp_path / "passphrase").touch(0o600)
    (tmp_path / "passphrase").write_bytes(b"a passphrase of some length")
    create_keyring(tmp_path / "ring", b"a passphrase of some length").create("node")
    data = NodeData(
        dataset=str(tmp_path / "none"),
        keys=f"keyring:{tmp_path / 'ring'}",
        passphrase_file=str(tmp_path / "passphrase"),
    )
    code = (
        "from fedenclave.datasets.node_data import NodeData\n"
        "import json\n"
        "data = NodeData.of_settings(json.loads(sys.argv[1]))\n"
        "provider = data.provider()\n"
        "wrapped = provider.wrap(b'k' * 32, 'node', subject='s', context='x')\n"
        "print(len(provider.unwrap(wrapped, subject='s', context='x')))\n"
    )
    settings = json.dumps(data.settings())
    confinement = Confinement(write=(own,), connect=())
    assert run(code, confinement.wider(access_to(data)), settings) == "32"
    # Without it no key is used: the event could not be written.
    assert "cannot write the audit event" in run(code, confinement, settings)


def test_a_confined_app_signs_with_a_key_in_a_token(own: Path) -> None:
    token = soft_token("node")
    uri = token.uri("confined")
    make_signer(uri)
    code = (
        "from fedenclave.keys.pkcs11_signing import open_signer\n"
        "print(len(open_signer(sys.argv[1]).sign(b'update')))"
    )
    assert run(code, Confinement(write=(own,), connect=()), uri) == "64"
