"""`fedenclave key-service`, and an aggregator that reaches its services by commands."""

from __future__ import annotations

import shutil
import socketserver
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.client.files import read_key
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.key_services import Commands
from fedenclave.host.serve import read_config
from fedenclave.membership.first_model import read_first_model
from fedenclave.protocol.errors import ConfigurationError, RequestRefused
from fedenclave.protocol.frames import Started
from fedenclave.protocol.key_release import KeyChallenge
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.segment import SegmentHead, entries
from fedenclave.protocol.signing import key_to_text, public_key
from tests.cli.conftest import BANKS, MANIFEST, Command, copied, ends, init_words

NAMES = ("notary", "regulator")


@pytest.fixture(scope="session")
def services_once(enrolled_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an approved manifest that names two services, and their folders."""
    folder = copied(enrolled_once, tmp_path_factory.mktemp("services"))
    words = init_words(folder)
    for name in NAMES:
        assert ends("key-service", "init", "--dir", folder / name) == 0
        key = public_key(read_key(folder / name / "service.key"))
        words += ["--key-service", f"{name}={key_to_text(key)}"]
    assert ends(*words) == 0
    for bank in BANKS:
        assert ends("federation", "approve", folder / MANIFEST, "--dir", folder / bank) == 0
    for name in NAMES:
        shutil.copy(folder / MANIFEST, folder / name)
    return folder


@pytest.fixture
def services(services_once: Path, tmp_path: Path) -> Path:
    """Return a copy of it."""
    return copied(services_once, tmp_path)


@pytest.fixture
def reached(services: Path) -> Iterator[Commands]:
    """Have both services answer in this process, and return what reaches them from another.

    Each command line is as `ssh` would be: what it reads goes there, what comes back it prints.
    """
    path = services / "socket"

    class Answering(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            name = self.rfile.readline().decode().strip()
            asked, told = services / f"{name}.asked", services / f"{name}.told"
            asked.write_bytes(self.rfile.read())
            files = ("--in", asked, "--out", told)
            if ends("key-service", "answer", "--dir", services / name, *files) == 0:
                self.wfile.write(told.read_bytes())

    with socketserver.UnixStreamServer(str(path), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {name: (sys.executable, "-S", "-c", CARRIER, str(path), name) for name in NAMES}
        server.shutdown()


CARRIER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as there:
    there.connect(sys.argv[1])
    there.sendall(sys.argv[2].encode() + b"\\n" + sys.stdin.buffer.read())
    there.shutdown(socket.SHUT_WR)
    while part := there.recv(65536):
        sys.stdout.buffer.write(part)
"""


def run(folder: Path, reached: Commands | None) -> tuple[Started, str]:
    """Start an aggregator, and end it; return what it said, and who seals its newest segment."""
    approvals = [(folder / b / "approvals" / f"{b}.approval").read_bytes() for b in BANKS]
    with Aggregator(
        folder / "host",
        manifest=(folder / MANIFEST).read_bytes(),
        approvals=approvals,
        model=read_first_model(folder / "first-model.fem"),
        tee="insecure",
        key_services=reached,
    ) as aggregator:
        started = aggregator.info()[2]
    segment = max((folder / "host" / "state").iterdir()).read_bytes()
    return started, SegmentHead.from_bytes(next(entries(segment)).data).sealer


def test_an_aggregator_started_again_goes_on_by_its_key_services(
    services: Path, reached: Commands
) -> None:
    first, sealer = run(services, reached)
    assert sealer == first.sealing == "insecure-key-service"
    again, _ = run(services, reached)
    assert (again.signing_key, again.start) == (first.signing_key, first.start)
    for name in NAMES:
        log = (services / name / "releases.log").read_text().splitlines()
        assert [line.split()[1] for line in log] == ["insecure", "insecure"]
        assert log[0].endswith("Z insecure sha256:" + first.measurement.hex())
    with pytest.raises(RequestRefused, match="state-unusable"):
        run(services, None)


def test_members_see_the_services_before_they_approve(services: Path, fedenclave: Command) -> None:
    shown = fedenclave("federation", "show", services / MANIFEST, "--json")
    for service in Manifest.from_bytes((services / MANIFEST).read_bytes()).key_services:
        assert f'"{service.name} ed25519:' in shown.out


def test_keys_are_their_owners_alone_and_never_made_anew(
    tmp_path: Path, fedenclave: Command
) -> None:
    folder = tmp_path / "service"
    made = fedenclave("key-service", "init", "--dir", folder)
    assert made.status == 0
    assert made.out.split()[:2] == [
        "key",
        key_to_text(public_key(read_key(folder / "service.key"))),
    ]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("service.key", "share.secret"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert len((folder / "share.secret").read_bytes()) == 32
    again = fedenclave("key-service", "init", "--dir", folder)
    assert again.status == 1
    assert "exists already" in again.err


def test_a_challenge_comes_by_file_and_by_stdout_and_nothing_else_with_it(
    services: Path, fedenclave: Command
) -> None:
    folder, empty, told = services / "notary", services / "empty", services / "challenge"
    empty.write_bytes(b"")
    words = ("key-service", "answer", "--dir", folder, "--in", empty)
    assert fedenclave(*words, "--out", told).status == 0
    by_file = KeyChallenge.from_bytes(told.read_bytes())
    assert by_file.service == "notary"
    piped = subprocess.run(
        [sys.executable, "-m", "fedenclave.cli", *words[:4]],
        input=b"",
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert KeyChallenge.from_bytes(piped.stdout).nonce != by_file.nonce
    assert piped.stderr == b""
    assert not (folder / "releases.log").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "share.secret").chmod(0o640), "has mode 0640, want 0600"),
        (lambda folder: (folder / "service.key").chmod(0o644), "has mode 0644, want 0600"),
        (lambda folder: (folder / "share.secret").write_bytes(b"x"), "has 1 bytes, want 32"),
        (lambda folder: (folder / "share.secret").unlink(), "cannot read secret"),
        (lambda folder: (folder / MANIFEST).unlink(), "cannot read manifest"),
        (lambda folder: (folder / MANIFEST).write_text("x"), "not valid toml"),
        (
            lambda folder: shutil.copy(folder.parent / "other" / MANIFEST, folder),
            "names no key service with the key",
        ),
        (lambda folder: (folder.parent / "asked").write_bytes(b"\xa0"), "does not decode"),
        (lambda folder: (folder.parent / "asked").unlink(), "cannot read request"),
    ],
)
def test_what_cannot_be_answered_is_two_lines_and_exit_status_1(
    services: Path, fedenclave: Command, spoil: object, message: str
) -> None:
    (services / "other").mkdir()
    assert ends(*init_words(services, out=services / "other")) == 0
    (services / "asked").write_bytes(b"\xff")
    spoil(services / "notary")  # type: ignore[operator]
    out = services / "told"
    words = ("key-service", "answer", "--dir", services / "notary", "--in", services / "asked")
    done = fedenclave(*words, "--out", out)
    assert done.status == 1
    assert message in done.err
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert not out.exists()


def test_a_release_that_cannot_be_noted_is_not_given(
    services: Path, reached: Commands, capfd: pytest.CaptureFixture[str]
) -> None:
    (services / "notary" / "releases.log").mkdir()
    with pytest.raises(ConfigurationError, match="notary gives no answer"):
        run(services, reached)
    assert "error: cannot write " in capfd.readouterr().err
    assert not list((services / "host" / "state").iterdir())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((), "an empty command cannot be run"),
        (("no-such-program",), "no-such-program cannot be run"),
        (("false",), "said why on stderr"),
        (("true",), "gives no answer"),
        (("echo", "welcome"), "answers with something else than a challenge"),
        (("sh", "-c", "echo error: closed on Sundays >&2; exit 1"), "answer: closed on Sundays"),
    ],
)
def test_a_command_that_reaches_no_service_ends_the_start(
    services: Path, command: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(services, {"notary": command, "regulator": command})
    assert not list((services / "host" / "state").iterdir())


def test_there_is_a_command_for_each_service_of_the_manifest_and_no_other(services: Path) -> None:
    for names in (NAMES[:1], (*NAMES, "stranger")):
        with pytest.raises(ConfigurationError, match="manifest names notary, regulator"):
            run(services, dict.fromkeys(names, ("true",)))


def test_commands_stand_in_the_aggregators_configuration(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "aggregator" / "aggregator.toml"
    config = tmp_path / "aggregator.toml"
    config.write_text(example.read_text() + '\n[key_services]\nnotary = ["ssh", "notary"]\n')
    assert read_config(config).key_services == {"notary": ("ssh", "notary")}
    config.write_text(example.read_text() + '\n[key_services]\nnotary = "ssh notary"\n')
    with pytest.raises(ConfigurationError, match="notary is not a list of texts"):
        read_config(config)


@pytest.mark.parametrize("wrong", ["notary", "notary=ed25519:AAAA", "No=x"])
def test_a_service_is_named_with_its_key(enrolled: Path, fedenclave: Command, wrong: str) -> None:
    done = fedenclave(*init_words(enrolled, key_service=wrong))
    assert done.status == 1
    assert "hint: as in --key-service notary=ed25519:" in done.err
    assert not (enrolled / MANIFEST).exists()
