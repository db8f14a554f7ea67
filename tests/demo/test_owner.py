"""A data owner's commands: the data end up sealed and nowhere else; one that fails is an error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedenclave.datasets.node_data import NodeData
from fedenclave.demo import family
from fedenclave.demo.commands import run_together
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.owner import DATASET, KEYRING, PASSPHRASE, Owner, seal_data
from fedenclave.demo.processes import ProcessGroup

pytestmark = pytest.mark.skipif(not family.is_supported(), reason="needs /proc")


def owner(folder: Path, name: str, rows: str) -> Owner:
    (folder / name / "plain").mkdir(parents=True)
    (folder / name / "plain" / "rows.csv").write_text(rows)
    return Owner(name=name, folder=folder / name)


@pytest.mark.slow
def test_each_owners_data_are_sealed_under_its_own_key_and_the_plain_text_is_gone(
    tmp_path: Path,
) -> None:
    owners = [owner(tmp_path, "a", "of a\n"), owner(tmp_path, "b", "of b\n")]
    with ProcessGroup(tmp_path / "group") as group:
        seal_data(group, owners, "plain")
    assert not list(tmp_path.rglob("rows.csv"))
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and b"of a\n" in p.read_bytes()]
    for each in owners:
        assert (each.folder / PASSPHRASE).stat().st_mode & 0o077 == 0
        data = NodeData(
            dataset=DATASET, keys=f"keyring:{KEYRING}", passphrase_file=PASSPHRASE
        ).below(each.folder)
        opened = data.open()
        assert opened is not None
        with opened:
            assert bytes(opened.read("rows.csv")) == f"of {each.name}\n".encode()
    secrets = {(each.folder / PASSPHRASE).read_bytes() for each in owners}
    assert len(secrets) == len(owners)
    for log in (tmp_path / "group" / "logs").iterdir():
        assert not any(secret.strip() in log.read_bytes() for secret in secrets)


@pytest.mark.slow
def test_data_that_cannot_be_sealed_are_kept(tmp_path: Path) -> None:
    odd = owner(tmp_path, "a", "of a\n")
    (odd.folder / "plain" / "link").symlink_to("rows.csv")
    with (
        pytest.raises(DeploymentError, match="could not seal the data"),
        ProcessGroup(tmp_path / "group") as group,
    ):
        seal_data(group, [odd], "plain")
    assert (odd.folder / "plain" / "rows.csv").read_text() == "of a\n"


def test_a_command_that_fails_shows_what_it_wrote(tmp_path: Path) -> None:
    commands = {
        "good": [sys.executable, "-c", "print('fine')"],
        "bad": [sys.executable, "-c", "raise SystemExit('the disk is full')"],
    }
    with (
        pytest.raises(DeploymentError, match="bad could not do it") as refused,
        ProcessGroup(tmp_path) as group,
    ):
        run_together(group, commands, what="do it", hint="start again")
    assert "the disk is full" in refused.value.message
    assert refused.value.hint == "start again"
